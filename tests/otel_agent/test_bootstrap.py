"""The sitecustomize that starts the agent, and the one it hides."""

import pytest

from otel_agent.environment import BOOTSTRAP_DIRECTORY


@pytest.mark.parametrize("is_disabled", ["true", "false"])
def test_hidden_sitecustomize_still_runs(run_host, tmp_path, is_disabled):
    """A sitecustomize of the host's environment runs as it would without the agent."""
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "sitecustomize.py").write_text("import builtins\nbuiltins.greeting = 'hello'\n", encoding="utf-8")

    outcome = run_host(
        "import sitecustomize\nprint(greeting, sitecustomize.__file__)",
        PYTHONPATH=f"{BOOTSTRAP_DIRECTORY}:{mine}",
        OTEL_SDK_DISABLED=is_disabled,
        OTEL_TRACES_EXPORTER="none",
        OTEL_METRICS_EXPORTER="none",
        OTEL_LOGS_EXPORTER="none",
    )

    assert (outcome.out, outcome.err) == (f"hello {mine}/sitecustomize.py\n", "")


def test_package_of_the_app_with_the_agents_name_is_the_apps(run_host, tmp_path):
    """A package otel_agent of the app is left to the app, after one line."""
    (tmp_path / "otel_agent").mkdir()
    (tmp_path / "otel_agent" / "__init__.py").write_text("mine = 'mine'", encoding="utf-8")

    outcome = run_host("import otel_agent; print(otel_agent.mine)", PYTHONPATH=f"{BOOTSTRAP_DIRECTORY}:{tmp_path}")

    assert (outcome.code, outcome.out) == (0, "mine\n")
    assert outcome.err == "spanwise: the app has a package otel_agent of its own, so nothing is recorded here\n"
