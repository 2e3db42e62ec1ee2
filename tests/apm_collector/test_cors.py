"""CORS: which origins are let in, and what a preflight is told."""

from __future__ import annotations

import pytest

from apm_collector.config import CorsConfig
from apm_collector.cors import cors_headers, is_allowed_origin, preflight_headers


def _config(*origins: str, headers: tuple[str, ...] = (), max_age_s: int | None = None) -> CorsConfig:
    return CorsConfig(allowed_origins=origins, allowed_headers=headers, max_age_s=max_age_s)


@pytest.mark.parametrize(
    ("pattern", "origin", "is_allowed"),
    [
        ("https://shop.example", "https://shop.example", True),
        ("https://shop.example", "HTTPS://SHOP.EXAMPLE", True),
        ("https://shop.example", "http://shop.example", False),
        ("https://shop.example", "https://shop.example:8080", False),
        ("https://shop.example", "https://shop.example.evil", False),
        ("https://shop.example", "https://shopXexample", False),
        ("https://*.example", "https://a.b.example", True),
        ("https://*.example", "https://example", False),
        ("https://*.example", "https://evil.test?.example.evil", False),
        ("http://[::1]:*", "http://[::1]:3000", True),
        ("*", "https://anything.test", True),
        ("*", "", False),
    ],
)
def test_an_origin_is_matched_whole(pattern: str, origin: str, is_allowed: bool) -> None:
    """A star stands for any text, everything else for itself."""
    assert is_allowed_origin(_config("https://other.example", pattern), origin) is is_allowed


def test_without_a_configuration_no_origin_is_allowed() -> None:
    """CORS is off by default."""
    assert not is_allowed_origin(None, "https://shop.example")


def test_an_answer_is_for_its_origin_alone() -> None:
    """It names the origin, never a star, and no credentials are asked for."""
    assert dict(cors_headers("https://a.example")) == {
        "access-control-allow-origin": "https://a.example",
        "vary": "origin",
    }


def test_a_preflight_is_told_method_headers_and_age() -> None:
    """What an exporter always sends is allowed in any case."""
    told = dict(preflight_headers(_config(headers=("X-Tenant",), max_age_s=600), {}))

    assert told == {
        "access-control-allow-methods": "POST",
        "access-control-allow-headers": "Accept, Content-Encoding, Content-Type, X-Requested-With, X-Tenant",
        "access-control-max-age": "600",
    }


def test_a_star_allows_the_headers_that_are_asked_for() -> None:
    """Browsers take no star where credentials may come, so the names are given back."""
    told = dict(preflight_headers(_config(headers=("*",)), {"access-control-request-headers": "x-a, x-b"}))

    assert told["access-control-allow-headers"] == "x-a, x-b"
    assert "access-control-max-age" not in told
