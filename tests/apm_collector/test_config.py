"""Configuration files: the shipped ones load, the others are refused with the key at fault named."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from apm_collector.config import ACCEPTED, ConfigError, Endpoint, component_type, load_config
from apm_store.model import Signal

ROOT = Path(__file__).parents[2]
SHIPPED = sorted((ROOT / "collector-config").glob("*.yaml"))
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

    with pytest.raises(ConfigError, match='did you mean "endpoint"\\? accepted: endpoint, max_request_body_size'):
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


def test_the_reference_lists_what_the_shipped_file_uses() -> None:
    """Every key of local.yaml stands in ACCEPTED, and every row of ACCEPTED in local.yaml."""
    document = yaml.safe_load((ROOT / "collector-config" / "local.yaml").read_text(encoding="utf-8"))

    def leaves(node: object, path: str = "") -> set[str]:
        if not isinstance(node, dict):
            return {path}
        return set().union(*(leaves(value, f"{path}.{key}".lstrip(".")) for key, value in node.items()))

    assert leaves(document) == set(ACCEPTED)
