"""What `spanwise doctor` reads out of variables: each case with a real app from which really nothing arrives."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

import pytest
from stack import free_port

from spanwise.agent_variables import agent_variables
from spanwise.check import Check
from spanwise.data_dir import Instance
from spanwise.doctor_variables import check_variables

QUERY = "import sqlite3; sqlite3.connect(':memory:').execute('SELECT 1').connection.close()"
INSTANCE = Instance(7, "127.0.0.1:5000", "127.0.0.1:4318", "127.0.0.1:4317")
STEERING = ("OTEL_", "PYTHON", "SPANWISE_")


def _run(receiver: Any, variables: Mapping[str, str]) -> None:
    """Run an app as `spanwise run` would."""
    base = {name: value for name, value in os.environ.items() if not name.startswith(STEERING)} | variables
    more = agent_variables(receiver.settings.data_dir, [sys.executable, "-c", QUERY], base)
    command = [sys.executable, "-c", QUERY]
    done = subprocess.run(command, env=base | more, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


def _findings(checks: list[Check]) -> str:
    return "\n".join(f"{check.finding} {check.cure}" for check in checks)


def test_usual_app_arrives_and_nothing_is_found(receiver: Any) -> None:
    """Without any variable spans arrive, and there is nothing to say."""
    _run(receiver, {})

    assert receiver.has_spans.is_set()
    assert list(check_variables({}, INSTANCE)) == []


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({"OTEL_SDK_DISABLED": "true"}, "unset OTEL_SDK_DISABLED"),
        ({"OTEL_TRACES_EXPORTER": "none"}, "unset OTEL_TRACES_EXPORTER"),
        ({"OTEL_TRACES_EXPORTER": "console"}, "export OTEL_TRACES_EXPORTER=otlp,console"),
        ({"OTEL_TRACES_SAMPLER": "always_off"}, "unset OTEL_TRACES_SAMPLER"),
        (
            {"OTEL_TRACES_SAMPLER": "parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0"},
            "OTEL_TRACES_SAMPLER_ARG is 0 here: no trace is kept",
        ),
        ({"OTEL_PYTHON_DISABLED_INSTRUMENTATIONS": "*"}, "unset OTEL_PYTHON_DISABLED_INSTRUMENTATIONS"),
        ({"OTEL_CONFIG_FILE": "/no/file.yaml"}, "unset OTEL_CONFIG_FILE"),
        (
            {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:{grpc}"},
            "the port for grpc; the protocol is http/protobuf",
        ),
        (
            {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:{http}", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"},
            "the port for http/protobuf; the protocol is grpc",
        ),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:{closed}"}, "this Spanwise listens at"),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://127.0.0.1:{http}"}, "127.0.0.1:{http}/v1/traces"),
        (
            {
                "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc",
                "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:{grpc}",
                "http_proxy": "http://me:secret@127.0.0.1:{closed}",
            },
            "export NO_PROXY=127.0.0.1",
        ),
    ],
    ids=lambda value: "-".join(value.values()) if isinstance(value, dict) else "",
)
def test_nothing_arrives_and_the_doctor_says_why(receiver: Any, variables: dict[str, str], words: str) -> None:
    """Each of these keeps an app's spans away, and is found with its cure."""
    ports = {"http": receiver.http_port, "grpc": receiver.grpc_port, "closed": free_port()}
    variables = {name: value.format(**ports) for name, value in variables.items()}
    instance = Instance(7, "127.0.0.1:9", f"127.0.0.1:{ports['http']}", f"127.0.0.1:{ports['grpc']}")

    _run(receiver, variables)
    findings = _findings(list(check_variables(variables, instance)))

    assert not receiver.has_spans.is_set()
    assert words.format(**ports) in findings
    assert "secret" not in findings


@pytest.mark.parametrize(
    ("variables", "states"),
    [
        ({"OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0.25"}, ["warn"]),
        ({"OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "a"}, ["warn"]),
        ({"OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "1"}, []),
        ({"OTEL_METRICS_EXPORTER": "none", "OTEL_LOGS_EXPORTER": "console,otlp"}, ["warn"]),
        ({"OTEL_EXPORTER_OTLP_PROTOCOL": "http/json"}, ["warn"]),
        ({"OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "http/json"}, ["warn"]),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "127.0.0.1:4318"}, ["fail"]),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:port"}, ["fail"]),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://localhost:4318/"}, []),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://0.0.0.0:4318/"}, ["warn"]),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://[::]:4318/"}, ["warn"]),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://localhost:4317", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, []),
        ({"OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": "http://localhost:4318/v1/metrics"}, []),
        ({"OTEL_PYTHON_DISTRO": "other", "OTEL_PYTHON_CONFIGURATOR": "spanwise"}, ["warn"]),
        ({"OTEL_PYTHON_DISABLED_INSTRUMENTATIONS": "redis"}, ["warn"]),
        ({"HTTP_PROXY": "http://127.0.0.1:9"}, []),
    ],
)
def test_states_of_variables(variables: dict[str, str], states: list[str]) -> None:
    """What loses a part is a warning, what loses everything a failure, and what works is not mentioned."""
    assert [check.state for check in check_variables(variables, INSTANCE)] == states


@pytest.mark.parametrize(
    ("no_proxy", "is_found"),
    [("", True), ("example.org", True), ("collector.test", False), (".test", False), ("*", False)],
)
def test_proxy_before_another_machine_is_found(no_proxy: str, is_found: bool) -> None:
    """A collector on another machine is reached through the proxy unless NO_PROXY excepts it."""
    variables = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector.test:4318",
        "HTTP_PROXY": "http://proxy.test:3128",
        "NO_PROXY": no_proxy,
    }

    findings = _findings(list(check_variables(variables, None)))

    assert ("go through the proxy proxy.test:3128" in findings) == is_found
