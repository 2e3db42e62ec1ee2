"""What the values of environment variables may be, the agent's own and the standard ones; a check raises ValueError."""

import math
import os
from collections.abc import Callable, Iterator, Mapping
from urllib.parse import urlsplit

_LONGEST_HOST_NAME = 253


def positive(text: str) -> float:
    """Read a finite number above 0."""
    number = float(text)
    if not math.isfinite(number) or number <= 0:
        raise ValueError("it must be a number above 0")
    return number


def whole_number(text: str) -> int:
    """Read a whole number above 0."""
    if int(text) <= 0:
        raise ValueError("it must be a whole number above 0")
    return int(text)


def interval(text: str) -> float:
    """Read seconds, 1 to 10; what is below or above becomes the nearest of them."""
    return min(max(positive(text), 1.0), 10.0)


def url(text: str) -> str:
    """Take the http or https URL of a host."""
    parts = urlsplit(text)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError("it must be a URL such as http://127.0.0.1:4318")
    if len(parts.hostname) > _LONGEST_HOST_NAME:
        raise ValueError("no host has so long a name")
    _ = parts.port  # raises ValueError for a port that is no number
    return text


def installed(group: str, *built_in: str) -> Callable[[str], str]:
    """Return a check for names, separated by commas, of what packages offer in a group of entry points."""

    def check(text: str) -> str:
        unknown = {name.strip() for name in text.split(",")}.difference(built_in)
        if unknown:
            from importlib.metadata import entry_points

            names = {entry_point.name for entry_point in entry_points(group=group)}
            if not unknown <= names:
                raise ValueError(f"installed are {', '.join(sorted(names.union(built_in)))}")
        return text

    return check


def one_of(*choices: str) -> Callable[[str], str]:
    """Return a check for one of these words, in whichever case."""

    def check(text: str) -> str:
        if text.strip().lower() not in choices:
            raise ValueError(f"it must be one of {', '.join(choices)}")
        return text

    return check


def _limit(text: str) -> int:
    if int(text) < 0:
        raise ValueError("it must be a whole number, 0 or more")
    return int(text)


def _ratio(text: str) -> float:
    if not 0 <= float(text) <= 1:
        raise ValueError("it must be a number from 0 to 1")
    return float(text)


def _file(text: str) -> str:
    if not os.access(text, os.R_OK):
        raise ValueError("no such file can be read")
    return text


def _patterns(text: str) -> str:
    import re

    try:
        re.compile("|".join(pattern.strip() for pattern in text.split(",")))
    except re.error as error:
        raise ValueError(f"no regular expression: {error}") from error
    return text


_SIGNALS = ("TRACES_", "METRICS_", "LOGS_")
_LIMITS = ("ATTRIBUTE_COUNT", "ATTRIBUTE_VALUE_LENGTH", "SPAN_ATTRIBUTE_COUNT", "SPAN_ATTRIBUTE_VALUE_LENGTH")
_MORE_LIMITS = ("SPAN_EVENT_COUNT", "SPAN_LINK_COUNT", "EVENT_ATTRIBUTE_COUNT", "LINK_ATTRIBUTE_COUNT")

# What the SDK or an instrumentation would take amiss later on: by raising, or by sending nothing and saying nothing.
_STANDARD: Mapping[str, Callable[[str], object]] = {
    **{f"OTEL_EXPORTER_OTLP_{signal}ENDPOINT": url for signal in _SIGNALS},
    **{f"OTEL_EXPORTER_OTLP_{signal}PROTOCOL": one_of("http/protobuf", "grpc") for signal in _SIGNALS},
    **{
        f"OTEL_EXPORTER_OTLP_{signal}{file}": _file
        for signal in ("", *_SIGNALS)
        for file in ("CERTIFICATE", "CLIENT_CERTIFICATE", "CLIENT_KEY")
    },
    **{f"OTEL_{limit}_LIMIT": _limit for limit in (*_LIMITS, *_MORE_LIMITS)},
    **{f"OTEL_{processor}_EXPORT_TIMEOUT": _limit for processor in ("BSP", "BLRP")},
    "OTEL_PROPAGATORS": installed("opentelemetry_propagator", "tracecontext", "baggage", "none"),
    "OTEL_PYTHON_ID_GENERATOR": installed("opentelemetry_id_generator", "random"),
    "OTEL_METRICS_EXEMPLAR_FILTER": one_of("trace_based", "always_on", "always_off"),
}


def bad_standard_values(environment: Mapping[str, str]) -> Iterator[tuple[str, str, str | None]]:
    """Give the standard variables whose value cannot work: name, reason, and what does instead (None is unset)."""
    for name, check in _STANDARD.items():
        if reason := _fault(check, environment.get(name)):
            yield name, reason, None
    for name in environment:
        if name.endswith("_EXCLUDED_URLS") and (reason := _fault(_patterns, environment[name])):
            yield name, reason, None
    if environment.get("OTEL_TRACES_SAMPLER", "").strip().lower().endswith("traceidratio"):
        name = "OTEL_TRACES_SAMPLER_ARG"
        if reason := _fault(_ratio, environment.get(name)):
            yield name, reason, "1.0"


def _fault(check: Callable[[str], object], text: str | None) -> str:
    try:
        check(text) if text else None
    except ValueError as error:
        return str(error)
    return ""
