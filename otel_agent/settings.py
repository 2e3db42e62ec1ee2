"""Every environment variable that the agent defines or gives a default to; no other file of it touches them."""

import logging
import math
import os
import sys
from collections.abc import Callable, Iterable, Mapping, MutableMapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

LOG_LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warn": logging.WARNING, "error": logging.ERROR}


@dataclass(frozen=True)
class Variable:
    """One environment variable: `default` None means unset; `check` raises ValueError for a value that cannot work."""

    name: str
    default: str | None
    type: str
    help: str
    check: Callable[[str], object] = str


@dataclass(frozen=True)
class Settings:
    """What the environment says, read and checked. `log_level` None means: warnings at start-up, then silence."""

    is_disabled: bool
    process_metrics_interval_s: float
    log_level: int | None
    disabled_instrumentations: frozenset[str]
    has_credential_provider: bool


def _positive(text: str) -> float:
    number = float(text)
    if not math.isfinite(number) or number <= 0:
        raise ValueError("it must be a number above 0")
    return number


def _milliseconds(text: str) -> int:
    if int(text) <= 0:
        raise ValueError("it must be a whole number above 0")
    return int(text)


def _interval(text: str) -> float:
    return min(max(_positive(text), 1.0), 10.0)


def _url(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError("it must be a URL such as http://127.0.0.1:4318")
    _ = parts.port  # raises ValueError for a port that is no number
    return text


def _installed(group: str, *built_in: str) -> Callable[[str], str]:
    def check(text: str) -> str:
        unknown = {name.strip() for name in text.split(",")}.difference(built_in)
        if unknown:
            from importlib.metadata import entry_points

            names = {entry_point.name for entry_point in entry_points(group=group)}
            if not unknown <= names:
                raise ValueError(f"installed are {', '.join(sorted(names.union(built_in)))}")
        return text

    return check


def _one_of(*choices: str) -> Callable[[str], str]:
    def check(text: str) -> str:
        if text.strip().lower() not in choices:
            raise ValueError(f"it must be one of {', '.join(choices)}")
        return text

    return check


PROCESS_METRICS_INTERVAL = Variable(
    "SPANWISE_PROCESS_METRICS_INTERVAL",
    "2",
    "seconds, 1 to 10",
    "How often memory, CPU, threads and garbage collection of the process are read and sent.",
    _interval,
)

VARIABLES: tuple[Variable, ...] = (
    PROCESS_METRICS_INTERVAL,
    Variable(
        "OTEL_TRACES_EXPORTER",
        "otlp",
        "exporter names or none",
        "Where spans go.",
        _installed("opentelemetry_traces_exporter", "otlp", "none"),
    ),
    Variable(
        "OTEL_METRICS_EXPORTER",
        "otlp",
        "exporter names or none",
        "Where metrics go.",
        _installed("opentelemetry_metrics_exporter", "otlp", "none"),
    ),
    Variable(
        "OTEL_LOGS_EXPORTER",
        "otlp",
        "exporter names or none",
        "Where log records go.",
        _installed("opentelemetry_logs_exporter", "otlp", "none"),
    ),
    Variable(
        "OTEL_EXPORTER_OTLP_PROTOCOL",
        "http/protobuf",
        "http/protobuf or grpc",
        "The OTLP transport; grpc needs opentelemetry-exporter-otlp-proto-grpc and costs about 12 MB more.",
        _one_of("http/protobuf", "grpc"),
    ),
    Variable(
        "OTEL_EXPORTER_OTLP_ENDPOINT",
        None,
        "URL",
        "The collector; unset means port 4318 (http/protobuf) or 4317 (grpc) on localhost.",
        _url,
    ),
    Variable(
        "OTEL_TRACES_SAMPLER",
        None,
        "sampler name",
        "Which traces are kept; unset means all of them, and the caller's decision where there is a caller.",
        _installed("opentelemetry_traces_sampler", "parentbased_always_on"),
    ),
    Variable(
        "OTEL_SEMCONV_STABILITY_OPT_IN",
        "http,database",
        "comma-separated names",
        "Which instrumentations use the stable attribute names.",
    ),
    Variable("OTEL_PYTHON_DISTRO", "spanwise", "name", "Which distro opentelemetry-instrument loads."),
    Variable("OTEL_PYTHON_CONFIGURATOR", "spanwise", "name", "Which configurator opentelemetry-instrument loads."),
    Variable(
        "OTEL_EXPERIMENTAL_RESOURCE_DETECTORS",
        "process,os,host",
        "comma-separated names",
        "What the resource tells about the process besides its service.",
    ),
    Variable(
        "OTEL_BSP_SCHEDULE_DELAY", "500", "milliseconds", "How long a finished span waits for its batch.", _milliseconds
    ),
    Variable(
        "OTEL_BLRP_SCHEDULE_DELAY", "500", "milliseconds", "How long a log record waits for its batch.", _milliseconds
    ),
    Variable(
        "OTEL_METRIC_EXPORT_INTERVAL",
        "10000",
        "milliseconds",
        "How often all metrics but those of the process are sent.",
        _milliseconds,
    ),
    Variable(
        "OTEL_LOG_LEVEL",
        None,
        "debug, info, warn or error",
        "Shows what the agent says about itself on stderr; unset means warnings while it starts, then silence.",
        _one_of(*LOG_LEVELS),
    ),
    Variable(
        "OTEL_PYTHON_DISABLED_INSTRUMENTATIONS",
        None,
        "comma-separated names or *",
        "Libraries that are left alone, for example redis,threading.",
    ),
    Variable("OTEL_SDK_DISABLED", None, "true or false", "Starts nothing at all when true."),
)


def complete(environment: MutableMapping[str, str]) -> list[str]:
    """Give unset variables their default and bad values too; return one warning line for each bad value."""
    warnings = []
    for variable in VARIABLES:
        value = environment.get(variable.name)
        if value:
            try:
                variable.check(value)
                continue
            except ValueError as error:
                used = variable.default or "nothing"
                warnings.append(f"{variable.name}={value[:80]!r} does not work ({error}); {used} is used instead")
        environment.pop(variable.name, None)
        if variable.default is not None:
            environment[variable.name] = variable.default
    return warnings


def read(environment: Mapping[str, str]) -> Settings:
    """Turn a completed environment into settings."""
    names = environment.get("OTEL_PYTHON_DISABLED_INSTRUMENTATIONS", "").split(",")
    return Settings(
        is_disabled=environment.get("OTEL_SDK_DISABLED", "").strip().lower() == "true",
        process_metrics_interval_s=_interval(environment[PROCESS_METRICS_INTERVAL.name]),
        log_level=LOG_LEVELS.get(environment.get("OTEL_LOG_LEVEL", "").strip().lower()),
        disabled_instrumentations=frozenset(name.strip() for name in names),
        has_credential_provider=any(
            name.startswith("OTEL_PYTHON_EXPORTER_OTLP_HTTP_") and name.endswith("CREDENTIAL_PROVIDER")
            for name in environment
        ),
    )


def read_process_environment() -> tuple[Settings, list[str]]:
    """Complete and read the environment of this process; child processes inherit what is filled in."""
    warnings = complete(os.environ)
    return read(os.environ), warnings


def names_the_service(environment: Mapping[str, str]) -> bool:
    """Tell whether the user has already named the service, in either of the two standard ways."""
    attributes = environment.get("OTEL_RESOURCE_ATTRIBUTES", "").split(",")
    return bool(environment.get("OTEL_SERVICE_NAME")) or any(a.strip().startswith("service.name=") for a in attributes)


def name_the_service(name_of: Callable[[Path, Iterable[str]], str]) -> None:
    """Set OTEL_SERVICE_NAME from the working directory and command line when the user has not named the service."""
    if not names_the_service(os.environ):
        os.environ["OTEL_SERVICE_NAME"] = name_of(Path.cwd(), sys.orig_argv[1:])


def process_environment() -> dict[str, str]:
    """Return a copy of the environment of this process."""
    return dict(os.environ)
