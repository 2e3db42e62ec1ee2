"""What the agent says about itself."""


def test_failures_are_shown_on_request_only(run_host, dead_port):
    """A collector that is down is told of only to those who ask, each line saying who speaks."""
    endpoint = f"http://127.0.0.1:{dead_port}"
    silent = run_host("", OTEL_EXPORTER_OTLP_ENDPOINT=endpoint)

    talkative = run_host("", OTEL_EXPORTER_OTLP_ENDPOINT=endpoint, OTEL_LOG_LEVEL="warn")

    assert silent.err == ""
    assert talkative.err
    assert all(line.startswith("spanwise: ") for line in talkative.err.splitlines())


def test_diagnostics_never_become_telemetry(sink, run_host):
    """The agent's own records are not sent, not even at the debug level."""
    run_host("import logging\nlogging.getLogger('opentelemetry.x').error('no')", OTEL_EXPORTER_OTLP_ENDPOINT=sink.url)

    assert sink.logs == []


def test_closed_stderr_does_no_harm(run_host, dead_port):
    """A host that closed its stderr, as daemons do, runs on."""
    script = "import logging, sys\nsys.stderr = None\nlogging.getLogger('opentelemetry').error('x')\nprint('on')"

    outcome = run_host(script, OTEL_EXPORTER_OTLP_ENDPOINT=f"http://127.0.0.1:{dead_port}", OTEL_LOG_LEVEL="error")

    assert (outcome.code, outcome.out) == (0, "on\n")
