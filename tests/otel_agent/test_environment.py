"""The variables that make a command instrumented, and the name of its service."""

import os

import pytest

from otel_agent.environment import BOOTSTRAP_DIRECTORY, agent_environment, service_name_of


def test_bootstrap_comes_first_and_the_rest_is_kept():
    """PYTHONPATH starts with the bootstrap directory, once, and keeps what was there."""
    base = {"PYTHONPATH": os.pathsep.join(["/mine", str(BOOTSTRAP_DIRECTORY)])}

    variables = agent_environment("shop", "http://127.0.0.1:4318", base)

    assert variables["PYTHONPATH"].split(os.pathsep) == [str(BOOTSTRAP_DIRECTORY), "/mine"]
    assert (BOOTSTRAP_DIRECTORY / "sitecustomize.py").is_file()


def test_empty_environment_gets_everything():
    """Without anything set, service, endpoint, protocol and the stable conventions are given."""
    variables = agent_environment("shop", "http://127.0.0.1:4318", {})

    assert (
        variables.items()
        >= {
            "OTEL_SERVICE_NAME": "shop",
            "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318",
            "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
            "OTEL_SEMCONV_STABILITY_OPT_IN": "http,database",
            "OTEL_PYTHON_DISTRO": "spanwise",
            "OTEL_PYTHON_CONFIGURATOR": "spanwise",
            "OTEL_BSP_SCHEDULE_DELAY": "500",
        }.items()
    )


@pytest.mark.parametrize(
    ("name", "value", "left_out"),
    [
        ("OTEL_SERVICE_NAME", "mine", "OTEL_SERVICE_NAME"),
        ("OTEL_RESOURCE_ATTRIBUTES", "a=b, service.name=mine", "OTEL_SERVICE_NAME"),
        ("OTEL_BSP_SCHEDULE_DELAY", "9", "OTEL_BSP_SCHEDULE_DELAY"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc", "OTEL_EXPORTER_OTLP_ENDPOINT"),
    ],
)
def test_users_variables_win(name, value, left_out):
    """A variable that the user has set, in whichever standard way, is left alone."""
    assert left_out not in agent_environment("shop", "http://127.0.0.1:4318", {name: value})


@pytest.mark.parametrize(
    ("file_name", "text", "expected"),
    [
        ("pyproject.toml", '[build-system]\nname = "no"\n\n[project]\nversion = "1"\nname = "shop"\n', "shop"),
        ("pyproject.toml", "[tool.x]\nname = 'no'\n", "web"),
        ("setup.cfg", "[metadata]\nname = shop\n[options]\nname = no\n", "shop"),
        ("other.txt", "", "web"),
    ],
)
def test_service_is_named_by_the_project(tmp_path, file_name, text, expected):
    """The project's own name comes first, the script's next."""
    (tmp_path / file_name).write_text(text, encoding="utf-8")

    assert service_name_of(tmp_path, ["python", "web.py"]) == expected


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        (["python3.11", "-u", "-W", "error", "src/web.py", "--port", "1"], "web"),
        (["python", "-m", "shop.web"], "shop"),
        (["/venv/bin/gunicorn", "shop:app"], "gunicorn"),
        (["src/web.py"], "web"),
        (["-m", "shop"], "shop"),
        (["python", "-c", "pass"], "project"),
        (["python"], "project"),
        ([], "project"),
    ],
)
def test_service_is_named_by_the_command(tmp_path, argv, expected):
    """Without project metadata the script or module names the service, and at last the directory."""
    directory = tmp_path / "project"
    directory.mkdir()

    assert service_name_of(directory, argv) == expected
