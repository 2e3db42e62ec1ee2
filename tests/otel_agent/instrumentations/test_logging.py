"""Log records of the host."""


def test_silent_logger_and_levels_are_respected(sink, run_host):
    """What the host's levels drop is not sent, and what a logger keeps from the root's console is."""
    script = """
import logging
logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")
logger = logging.getLogger("access")
logger.propagate = False
logger.addHandler(logging.NullHandler())
logger.info("kept from the console")
logger.debug("dropped")
logging.getLogger("shop").error("seen")
"""

    outcome = run_host(script, OTEL_EXPORTER_OTLP_ENDPOINT=sink.url)

    assert outcome.err == "ERROR seen\n"
    assert [(r.severity_text, r.body.string_value) for _, _, r in sink.logs] == [
        ("INFO", "kept from the console"),
        ("ERROR", "seen"),
    ]


def test_badly_formatted_record_fails_as_without_the_agent(sink, run_host):
    """A record whose arguments do not fit its message is the console's to complain of; the host goes on."""
    script = "import logging\nlogging.raiseExceptions = False\nlogging.warning('%d apples', 'no')\nprint('on')"
    without = run_host(script, agent=False)

    outcome = run_host(script, OTEL_EXPORTER_OTLP_ENDPOINT=sink.url)

    assert (outcome.code, outcome.out, outcome.err) == (0, "on\n", without.err)
