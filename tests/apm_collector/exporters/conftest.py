"""OTLP backends on free ports."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from otlp_backends import GrpcBackend, HttpBackend


@pytest.fixture
def http_backend() -> Iterator[HttpBackend]:
    """A recording OTLP/HTTP server."""
    backend = HttpBackend()
    yield backend
    backend.close()


@pytest.fixture
def grpc_backend() -> Iterator[GrpcBackend]:
    """A recording OTLP/gRPC server."""
    backend = GrpcBackend()
    yield backend
    backend.close()
