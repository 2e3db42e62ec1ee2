"""The ports of a configuration file, as the supervisor learns them."""

from __future__ import annotations

from pathlib import Path

import pytest

from spanwise.config_ports import ConfigFileError, config_ports
from spanwise.settings import default_config_file

HTTP_ONLY = """\
receivers: {otlp: {protocols: {http: {endpoint: "127.0.0.1:${env:THE_PORT}"}}}}
exporters: {store: }
service: {pipelines: {traces: {receivers: [otlp], exporters: [store]}}}
"""


def test_the_file_that_comes_with_spanwise_names_the_standard_ports() -> None:
    """First that for HTTP, then that for gRPC."""
    assert config_ports(default_config_file()) == (4318, 4317)


def test_a_protocol_that_is_not_configured_has_no_port(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is None; what the file takes from the environment is answered."""
    path = tmp_path / "config.yaml"
    path.write_text(HTTP_ONLY)
    monkeypatch.setenv("THE_PORT", "14318")

    assert config_ports(path) == (14318, None)


def test_any_fault_of_the_file_is_told(tmp_path: Path) -> None:
    """Also one that has nothing to do with ports; file and key are named."""
    path = tmp_path / "config.yaml"
    path.write_text(HTTP_ONLY.replace("store: ", "stoer: ").replace("${env:THE_PORT}", "1"))

    with pytest.raises(ConfigFileError, match=r"config\.yaml: .*stoer"):
        config_ports(path)


def test_a_missing_library_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the server's libraries the error is the same as if this process had imported them."""
    (tmp_path / "yaml.py").write_text("raise ModuleNotFoundError(name='yaml')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))

    with pytest.raises(ModuleNotFoundError) as raised:
        config_ports(default_config_file())

    assert raised.value.name == "yaml"
