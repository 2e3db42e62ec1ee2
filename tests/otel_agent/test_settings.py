"""Reading the environment: defaults, bad values, bounds."""

import logging

import pytest

from otel_agent.settings import VARIABLES, complete, leave_process_tree, process_tree, read


def test_defaults_are_valid_and_complete():
    """An empty environment is filled in with values that pass their own checks."""
    environment = {}

    assert complete(environment) == []
    assert complete(environment) == []
    settings = read(environment)
    assert (settings.process_metrics_interval_s, settings.log_level, settings.is_disabled) == (2.0, None, False)


def test_every_variable_is_documented_once():
    """Each row has a sentence of help and a name of its own."""
    names = [variable.name for variable in VARIABLES]

    assert len(set(names)) == len(names)
    assert all(variable.help.endswith(".") and variable.type for variable in VARIABLES)


@pytest.mark.parametrize(("value", "interval_s"), [("0.1", 1.0), ("1.5", 1.5), ("60", 10.0)])
def test_process_metrics_interval_is_clamped(value, interval_s):
    """The interval stays between 1 and 10 seconds."""
    environment = {"SPANWISE_PROCESS_METRICS_INTERVAL": value}

    assert complete(environment) == []
    assert read(environment).process_metrics_interval_s == interval_s


@pytest.mark.parametrize("value", ["", "soon", "nan", "inf", "-1", "0", "2s", "9" * 5000])
def test_bad_interval_becomes_the_default(value):
    """A bad value gives one warning that names the variable, and the default; an empty one counts as unset."""
    environment = {"SPANWISE_PROCESS_METRICS_INTERVAL": value}
    warnings = complete(environment)

    assert read(environment).process_metrics_interval_s == 2.0
    assert len(warnings) == (1 if value else 0)
    assert all("SPANWISE_PROCESS_METRICS_INTERVAL" in line and len(line) < 300 for line in warnings)


@pytest.mark.parametrize(
    ("variables", "expected", "warned"),
    [
        ({}, (1.0, None, "off"), 0),
        (
            {"SPANWISE_OPEN_SPAN_AFTER": "0.5", "SPANWISE_MEMORY_WINDOW": "30", "SPANWISE_PROFILER": "Slow"},
            (0.5, 30, "slow"),
            0,
        ),
        (
            {"SPANWISE_OPEN_SPAN_AFTER": "-1", "SPANWISE_MEMORY_WINDOW": "0", "SPANWISE_PROFILER": "1"},
            (1.0, None, "off"),
            3,
        ),
    ],
    ids=["defaults", "given", "bad"],
)
def test_what_the_runtime_tells_is_set_or_its_default(variables, expected, warned):
    """Open spans, memory windows and the profiler take good values and warn of bad ones."""
    environment = dict(variables)
    warnings = complete(environment)

    settings = read(environment)
    assert (settings.open_span_after_s, settings.memory_window_s, settings.profiler) == expected
    assert len(warnings) == warned


def test_users_values_are_kept():
    """Values of the user that can work are not touched."""
    mine = {"OTEL_TRACES_EXPORTER": "console,otlp", "OTEL_LOG_LEVEL": "DEBUG", "OTEL_SDK_DISABLED": "True"}
    environment = dict(mine)

    assert complete(environment) == []
    assert environment.items() >= mine.items()
    settings = read(environment)
    assert (settings.log_level, settings.is_disabled) == (logging.DEBUG, True)


@pytest.mark.parametrize(
    ("environment", "answer"),
    [({}, False), ({"OTEL_PYTHON_LOG_CORRELATION": "true"}, True), ({"OTEL_LOG_LEVEL": "debug"}, False)],
)
def test_variables_of_the_logging_instrumentation_are_noticed(environment, answer):
    """Only those by which OpenTelemetry's instrumentation of logging is steered count."""
    complete(environment)

    assert read(environment).has_log_variables is answer


def test_a_tree_that_was_left_for_children_has_one_founder(monkeypatch):
    """A process that has left the number of its tree is its founder when it asks; whoever asks next is not."""
    monkeypatch.setenv("SPANWISE_PROCESS_TREE", "")

    leave_process_tree()
    answers = [process_tree(), process_tree()]

    assert answers == [(answers[0][0], True), (answers[0][0], False)]
