"""Every environment variable that the agent defines or gives a default to; no other file of it touches them."""

import logging
import os
import sys
from collections.abc import Callable, Iterable, Mapping, MutableMapping
from dataclasses import dataclass
from pathlib import Path

from otel_agent.value_checks import bad_standard_values, installed, interval, one_of, positive, url, whole_number

LOG_LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warn": logging.WARNING, "error": logging.ERROR}

# Not a setting: what an instrumented process leaves for its children.
_PROCESS_TREE = "SPANWISE_PROCESS_TREE"
_left_tree: list[int] = []


@dataclass(frozen=True)
class Variable:
    """One environment variable: `default` None means unset; `check` raises ValueError for a value that cannot work."""

    name: str
    default: str | None
    type: str
    help: str
    check: Callable[[str], object] = str


@dataclass(frozen=True)
class BatchSettings:
    """How finished items wait: `queue_size` at most, in batches of `batch_size`, for `delay_s` seconds."""

    queue_size: int
    batch_size: int
    delay_s: float


@dataclass(frozen=True)
class Settings:
    """What the environment says, read and checked. `log_level` None means: warnings at start-up, then silence."""

    is_disabled: bool
    process_metrics_interval_s: float
    open_span_after_s: float
    memory_window_s: float | None
    profiler: str
    log_level: int | None
    disabled_instrumentations: frozenset[str]
    has_credential_provider: bool
    has_log_variables: bool
    has_metrics: bool
    span_batches: BatchSettings
    log_batches: BatchSettings
    metric_interval_s: float


PROCESS_METRICS_INTERVAL = Variable(
    "SPANWISE_PROCESS_METRICS_INTERVAL",
    "2",
    "seconds, 1 to 10",
    "How often memory, CPU, threads and garbage collection of the process are read and sent.",
    interval,
)

OPEN_SPAN_AFTER = Variable(
    "SPANWISE_OPEN_SPAN_AFTER",
    "1",
    "seconds",
    "How long a span is open before a record of it is sent, which shows where a hung or killed request was.",
    positive,
)

MEMORY_WINDOW = Variable(
    "SPANWISE_MEMORY_WINDOW",
    None,
    "seconds",
    "Traces allocations for so long, a tenth of the time; unset means for a minute when memory seems to leak.",
    positive,
)

PROFILER = Variable(
    "SPANWISE_PROFILER",
    "off",
    "off, on or slow",
    "Samples stacks within spans, always or only while a span takes longer than 95 % of its name.",
    one_of("off", "on", "slow"),
)

AGENT_PATH = Variable(
    "SPANWISE_AGENT_PATH",
    None,
    "directories",
    "Where an environment without the agent finds it and what it needs; `spanwise run` sets it.",
)

VARIABLES: tuple[Variable, ...] = (
    PROCESS_METRICS_INTERVAL,
    OPEN_SPAN_AFTER,
    MEMORY_WINDOW,
    PROFILER,
    AGENT_PATH,
    Variable(
        "OTEL_TRACES_EXPORTER",
        "otlp",
        "exporter names or none",
        "Where spans go.",
        installed("opentelemetry_traces_exporter", "otlp", "none"),
    ),
    Variable(
        "OTEL_METRICS_EXPORTER",
        "otlp",
        "exporter names or none",
        "Where metrics go.",
        installed("opentelemetry_metrics_exporter", "otlp", "none"),
    ),
    Variable(
        "OTEL_LOGS_EXPORTER",
        "otlp",
        "exporter names or none",
        "Where log records go.",
        installed("opentelemetry_logs_exporter", "otlp", "none"),
    ),
    Variable(
        "OTEL_EXPORTER_OTLP_PROTOCOL",
        "http/protobuf",
        "http/protobuf or grpc",
        "The OTLP transport; grpc needs opentelemetry-exporter-otlp-proto-grpc and costs about 12 MB more.",
        one_of("http/protobuf", "grpc"),
    ),
    Variable(
        "OTEL_EXPORTER_OTLP_ENDPOINT",
        None,
        "URL",
        "The collector; unset means port 4318 (http/protobuf) or 4317 (grpc) on localhost.",
        url,
    ),
    Variable(
        "OTEL_TRACES_SAMPLER",
        None,
        "sampler name",
        "Which traces are kept; unset means all of them, and the caller's decision where there is a caller.",
        installed("opentelemetry_traces_sampler", "parentbased_always_on"),
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
        "OTEL_BSP_SCHEDULE_DELAY", "500", "milliseconds", "How long a finished span waits for its batch.", whole_number
    ),
    Variable(
        "OTEL_BLRP_SCHEDULE_DELAY", "500", "milliseconds", "How long a log record waits for its batch.", whole_number
    ),
    *(
        Variable(f"OTEL_{processor}_{name}", default, "number", text, whole_number)
        for processor, items in (("BSP", "spans"), ("BLRP", "log records"))
        for name, default, text in (
            ("MAX_QUEUE_SIZE", "4096", f"How many {items} wait at most; then the oldest are dropped, and counted."),
            ("MAX_EXPORT_BATCH_SIZE", "512", f"How many {items} are sent at once."),
        )
    ),
    Variable(
        "OTEL_METRIC_EXPORT_INTERVAL",
        "10000",
        "milliseconds",
        "How often all metrics but those of the process are sent.",
        whole_number,
    ),
    Variable(
        "OTEL_LOG_LEVEL",
        None,
        "debug, info, warn or error",
        "Shows what the agent says about itself on stderr; unset means warnings while it starts, then silence.",
        one_of(*LOG_LEVELS),
    ),
    Variable(
        "OTEL_PYTHON_DISABLED_INSTRUMENTATIONS",
        None,
        "comma-separated names or *",
        "Libraries that are left alone, for example redis,threading.",
    ),
    Variable("OTEL_SDK_DISABLED", None, "true or false", "Starts nothing at all when true.", one_of("true", "false")),
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
                warnings.append(_warning(variable.name, value, str(error), variable.default))
        environment.pop(variable.name, None)
        if variable.default is not None:
            environment[variable.name] = variable.default
    for name, reason, instead in tuple(bad_standard_values(environment)):
        warnings.append(_warning(name, environment.pop(name), reason, instead))
        if instead is not None:
            environment[name] = instead
    return warnings


def _warning(name: str, value: str, reason: str, instead: str | None) -> str:
    return f"{name}={value[:80]!r} does not work ({reason}); {instead or 'nothing'} is used instead"


def read(environment: Mapping[str, str]) -> Settings:
    """Turn a completed environment into settings."""
    names = environment.get("OTEL_PYTHON_DISABLED_INSTRUMENTATIONS", "").split(",")
    return Settings(
        is_disabled=is_disabled(environment),
        process_metrics_interval_s=interval(environment[PROCESS_METRICS_INTERVAL.name]),
        open_span_after_s=positive(environment[OPEN_SPAN_AFTER.name]),
        memory_window_s=float(environment[MEMORY_WINDOW.name]) if environment.get(MEMORY_WINDOW.name) else None,
        profiler=environment[PROFILER.name].strip().lower(),
        log_level=LOG_LEVELS.get(environment.get("OTEL_LOG_LEVEL", "").strip().lower()),
        disabled_instrumentations=frozenset(name.strip() for name in names),
        has_credential_provider=any(
            name.startswith("OTEL_PYTHON_EXPORTER_OTLP_HTTP_") and name.endswith("CREDENTIAL_PROVIDER")
            for name in environment
        ),
        has_log_variables=any(name.startswith("OTEL_PYTHON_LOG") for name in environment),
        has_metrics=environment["OTEL_METRICS_EXPORTER"].strip() != "none",
        span_batches=_batches(environment, "BSP"),
        log_batches=_batches(environment, "BLRP"),
        metric_interval_s=whole_number(environment["OTEL_METRIC_EXPORT_INTERVAL"]) / 1000,
    )


def _batches(environment: Mapping[str, str], processor: str) -> BatchSettings:
    queue_size, batch_size, delay_ms = (
        int(environment[f"OTEL_{processor}_{name}"])
        for name in ("MAX_QUEUE_SIZE", "MAX_EXPORT_BATCH_SIZE", "SCHEDULE_DELAY")
    )
    return BatchSettings(queue_size, min(batch_size, queue_size), delay_ms / 1000)


def tls_files(signal: str) -> tuple[str | None, str | None, str | None]:
    """Return CA, client certificate and client key file for TRACES, METRICS or LOGS, as the standard variables say."""
    ca, certificate, key = (
        os.environ.get(f"OTEL_EXPORTER_OTLP_{signal}_{name}") or os.environ.get(f"OTEL_EXPORTER_OTLP_{name}")
        for name in ("CERTIFICATE", "CLIENT_CERTIFICATE", "CLIENT_KEY")
    )
    return ca, certificate, key


def captured_headers(direction: str) -> str | None:
    """Return what the standard variable says about headers of a server's REQUEST or RESPONSE: which to record."""
    return os.environ.get(f"OTEL_INSTRUMENTATION_HTTP_CAPTURE_HEADERS_SERVER_{direction}")


def is_disabled(environment: Mapping[str, str]) -> bool:
    """Tell whether the agent is to do nothing at all."""
    return environment.get("OTEL_SDK_DISABLED", "").strip().lower() == "true"


def agent_path(environment: Mapping[str, str]) -> list[str]:
    """The directories in which the agent and what it needs lie; without the variable, where this file does."""
    given = environment.get(AGENT_PATH.name, "").split(os.pathsep)
    return [path for path in given if path] or [str(Path(__file__).parents[1])]


def read_process_environment() -> tuple[Settings, list[str]]:
    """Complete and read the environment of this process; child processes inherit what is filled in."""
    warnings = complete(os.environ)
    return read(os.environ), warnings


def process_settings() -> Settings:
    """Read the environment of this process, which has been completed when the agent started."""
    return read(os.environ)


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


def process_tree() -> tuple[int, bool]:
    """Return the number of the tree of instrumented processes that this one belongs to, and whether it founds it.

    The founder leaves the number, below 2**62, in the environment for its children.
    """
    text = os.environ.get(_PROCESS_TREE, "")
    if text.isdecimal() and len(text) < 20 and int(text) < 2**62:
        is_founder = [int(text)] == _left_tree
        _left_tree.clear()
        return int(text), is_founder
    number = int.from_bytes(os.urandom(8), "big") >> 2
    os.environ[_PROCESS_TREE] = str(number)
    return number, True


def leave_process_tree() -> None:
    """Leave the number for children now; whoever asks for it first in this process is still its founder."""
    number, is_founder = process_tree()
    if is_founder:
        _left_tree.append(number)


def temporary_directory() -> Path:
    """Return where temporary files go, without fixing it for the host as `tempfile.gettempdir` would."""
    return Path(os.environ.get("TMPDIR") or "/tmp")  # noqa: S108 - POSIX names it
