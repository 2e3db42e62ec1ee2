"""Configuration files: the shipped ones load, the others are refused with the key at fault named."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from apm_collector.config import (
    ACCEPTED,
    CollectorConfig,
    ConfigError,
    CorsConfig,
    Endpoint,
    OtlpExporterConfig,
    RetryConfig,
    component_type,
    load_config,
    parse_config,
)
from apm_collector.processors.redact import RedactConfig
from apm_store.model import Signal

ROOT = Path(__file__).parents[2]
# `upstream*.yaml` configure the OpenTelemetry Collector itself, in front of ours.
SHIPPED = sorted(path for path in (ROOT / "collector-config").glob("*.yaml") if not path.stem.startswith("upstream"))
REFUSED = sorted((ROOT / "tests" / "fixtures" / "collector-config").glob("*.yaml"))
MINIMAL = """
receivers: {otlp: {protocols: {http: {endpoint: "%s"}}}}
exporters: {store: }
service: {pipelines: {traces: {receivers: [otlp], exporters: [store]}}}
"""


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.name)
def test_every_shipped_file_loads(path: Path) -> None:
    """What lies in collector-config can be used as it is."""
    config = load_config(path, {})

    assert config.pipelines


@pytest.mark.parametrize("path", REFUSED, ids=lambda path: path.stem)
def test_every_reject_me_file_is_refused_with_its_key_named(path: Path) -> None:
    """The first line of each file says which words the error must hold; the error is one line and names the file."""
    words = path.read_text(encoding="utf-8").splitlines()[0].removeprefix("# Refused because of: ")

    with pytest.raises(ConfigError) as error:
        load_config(path, {})

    assert words in str(error.value)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


def test_the_local_configuration_is_what_the_readme_promises() -> None:
    """OTLP on loopback at the standard ports, 64 MiB a request, all three signals into the store."""
    config = load_config(ROOT / "collector-config" / "local.yaml", {})

    otlp = config.receivers["otlp"]
    assert otlp.grpc is not None
    assert otlp.http is not None
    assert (str(otlp.grpc.endpoint), str(otlp.http.endpoint)) == ("127.0.0.1:4317", "127.0.0.1:4318")
    assert otlp.grpc.max_request_bytes == otlp.http.max_request_bytes == 64 * 1024 * 1024
    assert set(config.pipelines) == set(Signal)
    assert (config.http_port, config.grpc_port) == (4318, 4317)


def test_an_unknown_key_is_answered_with_the_one_that_was_meant(tmp_path: Path) -> None:
    """The error guesses the key and lists what is accepted."""
    path = tmp_path / "c.yaml"
    path.write_text(MINIMAL.replace("endpoint", "endpiont") % "x:1")

    with pytest.raises(ConfigError, match='did you mean "endpoint"\\? accepted: endpoint, max_request_body_size, cors'):
        load_config(path, {})


@pytest.mark.parametrize(
    ("text", "endpoint"),
    [
        ("localhost:1", Endpoint("localhost", 1)),
        ("0.0.0.0:0", Endpoint("0.0.0.0", 0)),
        ("[::1]:4318", Endpoint("::1", 4318)),
        ("${env:HOST:-127.0.0.1}:${env:PORT}", Endpoint("127.0.0.1", 99)),
    ],
)
def test_an_endpoint_is_host_and_port(tmp_path: Path, text: str, endpoint: Endpoint) -> None:
    """Names, IPv4, bracketed IPv6 and values of the environment are read; the text form gives them back."""
    path = tmp_path / "c.yaml"
    path.write_text(MINIMAL % text)

    http = load_config(path, {"PORT": "99"}).receivers["otlp"].http

    assert http is not None
    assert http.endpoint == endpoint
    assert "$" in text or str(endpoint) == text


def test_only_named_protocols_are_on(tmp_path: Path) -> None:
    """A protocol that the file does not name is off, and has no port."""
    path = tmp_path / "c.yaml"
    path.write_text(MINIMAL % "localhost:1")

    config = load_config(path, {})

    assert config.receivers["otlp"].grpc is None
    assert config.grpc_port is None


def test_flags_move_the_endpoints(tmp_path: Path) -> None:
    """`listening_on` replaces hosts, and the ports that are given; a protocol that is off stays off."""
    path = tmp_path / "c.yaml"
    path.write_text(MINIMAL % "localhost:1")
    config = load_config(path, {})

    moved, kept = config.listening_on("127.0.0.1", 7, 8), config.listening_on("::1", None, None)

    assert (moved.http_port, moved.grpc_port) == (7, None)
    assert kept.receivers["otlp"].http is not None
    assert str(kept.receivers["otlp"].http.endpoint) == "[::1]:1"


@pytest.mark.parametrize(
    ("content", "problem"),
    [(None, "cannot be read"), (b"\xff\xfe", "not UTF-8"), (b"#" * 300_000, "larger than"), (b"[" * 5000, "nested")],
)
def test_a_file_that_is_no_configuration_is_refused(tmp_path: Path, content: bytes | None, problem: str) -> None:
    """Missing, binary, huge and deeply nested files each get one clear line."""
    path = tmp_path / "c.yaml"
    if content is not None:
        path.write_bytes(content)

    with pytest.raises(ConfigError, match=problem):
        load_config(path, {})


def test_a_component_id_starts_with_its_type() -> None:
    """`type/name` and `type` have the same type."""
    assert component_type("otlp/internal") == component_type("otlp") == "otlp"


def test_the_reference_lists_what_the_reference_file_uses() -> None:
    """Every key of reference.yaml stands in ACCEPTED, and every row of ACCEPTED in reference.yaml."""
    document = yaml.safe_load((ROOT / "collector-config" / "reference.yaml").read_text(encoding="utf-8"))

    def leaves(node: object, path: str = "") -> set[str]:
        if isinstance(node, dict) and not path.endswith("headers"):
            return set().union(*(leaves(value, f"{path}.{key}".lstrip(".")) for key, value in node.items()))
        if isinstance(node, list) and any(isinstance(one, dict) for one in node):
            return set().union(*(leaves(one, path) for one in node))
        return {path}

    named = {path.replace("/container", "") for path in leaves(document)}
    flat = {path.replace("and.and_sub_policy.", "") for path in named}
    assert flat | {"processors.tail_sampling.policies.and.and_sub_policy"} == set(ACCEPTED)


def _parse(exporters: str = "store: ", processors: str = "", pipeline: str = "exporters: [store]") -> CollectorConfig:
    text = f"receivers: {{otlp: {{protocols: {{http: }}}}}}\nexporters: {{{exporters}}}\n"
    text += f"processors: {{{processors}}}\n" if processors else ""
    text += f"service: {{pipelines: {{traces: {{receivers: [otlp], {pipeline}}}}}}}\n"
    return parse_config(text, {"TOKEN": "t0p"})


def test_redaction_is_on_by_default_and_last() -> None:
    """A pipeline that does not name it has it before its exporters; one that does keeps its own order."""
    processors = "batch: , redact/mine: {emails: true}"

    silent = _parse(processors=processors, pipeline="processors: [batch], exporters: [store]")
    named = _parse(processors=processors, pipeline="processors: [redact/mine, batch], exporters: [store]")

    assert silent.pipelines[Signal.TRACES].processors == ("batch", "redact")
    assert silent.processors["redact"] == RedactConfig()
    assert named.pipelines[Signal.TRACES].processors == ("redact/mine", "batch")


def test_redaction_is_switched_off_by_saying_so() -> None:
    """`redact: {enabled: false}` holds for every pipeline that does not name another one."""
    config = _parse(processors="redact: {enabled: false}")

    assert config.pipelines[Signal.TRACES].processors == ("redact",)
    assert config.processors["redact"] == RedactConfig(is_enabled=False)


def test_an_otlp_exporter_has_the_defaults_of_upstream() -> None:
    """gzip, 5 s and 30 s an attempt, TLS; the queue is bounded by bytes."""
    exporters = 'store: , otlp: {endpoint: "h:4317"}, otlphttp/b: {endpoint: "https://h:4318/"}'
    config = _parse(exporters, pipeline="exporters: [otlphttp/b, otlp, store]")

    grpc, http = config.exporters["otlp"], config.exporters["otlphttp/b"]
    assert isinstance(grpc, OtlpExporterConfig)
    assert isinstance(http, OtlpExporterConfig)
    assert (grpc.protocol, grpc.endpoint, grpc.timeout_s, grpc.is_insecure) == ("grpc", "h:4317", 5.0, False)
    assert (http.protocol, http.endpoint, http.timeout_s, http.is_insecure) == ("http", "https://h:4318", 30.0, False)
    assert (grpc.is_compressed, grpc.queue_bytes, grpc.retry) == (True, 256 * 1024 * 1024, RetryConfig(5.0, 30.0, None))
    assert config.pipelines[Signal.TRACES].exporters == ("store", "otlphttp/b", "otlp")


def test_an_otlp_exporter_is_what_the_file_says() -> None:
    """Headers, insecure transport, attempts and queue; header values are not shown by accident."""
    exporter = _parse(
        'otlp_grpc: {endpoint: "http://h:1", compression: none, timeout: 1m30s,'
        'headers: {Authorization: "a ${env:TOKEN}"},'
        "retry_on_failure: {initial_interval: 200ms, max_interval: 1s, max_elapsed_time: 1h},"
        "sending_queue: {queue_size: 1048576, sizer: bytes}}",
        pipeline="exporters: [otlp_grpc]",
    ).exporters["otlp_grpc"]

    assert isinstance(exporter, OtlpExporterConfig)
    assert (exporter.endpoint, exporter.is_insecure, exporter.is_compressed) == ("h:1", True, False)
    assert (exporter.timeout_s, exporter.queue_bytes) == (90.0, 1048576)
    assert exporter.retry == RetryConfig(0.2, 1.0, 3600.0)
    assert exporter.headers == {"Authorization": "a t0p"}
    assert "t0p" not in repr(exporter)


def test_cors_is_off_unless_configured(tmp_path: Path) -> None:
    """None without the section; what it says with it."""
    path = tmp_path / "c.yaml"
    path.write_text(
        MINIMAL.replace('"%s"', '"h:1", cors: {allowed_origins: ["https://*.example.com", "*"], max_age: 60}')
    )

    http = load_config(path, {}).receivers["otlp"].http
    plain = _parse().receivers["otlp"].http

    assert http is not None
    assert http.cors == CorsConfig(("https://*.example.com", "*"), (), 60)
    assert plain is not None
    assert plain.cors is None


def test_a_text_is_parsed_without_a_file() -> None:
    """The error then names no file."""
    with pytest.raises(ConfigError, match=r"^the file is missing or empty"):
        parse_config("", {})
