"""CORS: which web pages of other origins may send telemetry, when the configuration lists any."""

from __future__ import annotations

import re
from collections.abc import Mapping

from apm_collector.config import CorsConfig

_ALWAYS_ALLOWED_HEADERS = ("Accept", "Content-Encoding", "Content-Type", "X-Requested-With")


def is_allowed_origin(config: CorsConfig | None, origin: str) -> bool:
    """Whether pages of an origin may send here."""
    if config is None or not origin:
        return False
    return any(_matches(pattern, origin) for pattern in config.allowed_origins)


def _matches(pattern: str, origin: str) -> bool:
    expression = ".*".join(map(re.escape, pattern.split("*")))
    return re.fullmatch(expression, origin, re.IGNORECASE) is not None


def cors_headers(origin: str) -> tuple[tuple[str, str], ...]:
    """The headers that let a page of an allowed origin read the answer."""
    return (("access-control-allow-origin", origin), ("vary", "origin"))


def preflight_headers(config: CorsConfig, headers: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """What the answer to a preflight says besides `cors_headers`; `headers` are the request's."""
    allowed = ", ".join(dict.fromkeys((*_ALWAYS_ALLOWED_HEADERS, *config.allowed_headers)))
    if "*" in config.allowed_headers:
        allowed = headers.get("access-control-request-headers", allowed)
    answer = [("access-control-allow-methods", "POST"), ("access-control-allow-headers", allowed)]
    if config.max_age_s is not None:
        answer.append(("access-control-max-age", str(config.max_age_s)))
    return tuple(answer)
