"""The agent in environments in which it is not installed: real virtual environments, real processes."""

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import urllib.request
from importlib.metadata import distribution, distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from otel_agent.companions import COMPANIONS, held_in, own_directories
from otel_agent.environment import agent_environment

OURS = Path(sysconfig.get_paths()["purelib"])
QUERY = "import sqlite3; sqlite3.connect(':memory:').execute('SELECT 1').connection.close()\n"
SERVER_ONLY = (
    "spanwise",
    "apm_store",
    "apm_ui",
    "demo_app",
    "dash",
    "flask",
    "sqlalchemy",
    "yaml",
    "grpc",
    "google.rpc",
)


class App:
    """A virtual environment without the agent, and a directory with an app in it."""

    def __init__(self, directory, environment, endpoint):
        self.directory = directory
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", directory / "venv"], check=True)
        self.python = directory / "venv" / "bin" / "python"
        (self.site_packages,) = (directory / "venv").glob("lib/python*/site-packages")
        self.environment = environment | agent_environment("host", endpoint, environment)

    def write(self, name, text):
        path = self.site_packages / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")

    def install(self, name, version=None):
        """Copy a distribution from our own environment, and call it another version."""
        for file in distribution(name).files:
            source = Path(distribution(name).locate_file(file))
            if ".." not in file.parts and "__pycache__" not in file.parts:
                parts = list(file.parts)
                if version and parts[0].endswith(".dist-info"):
                    parts[0] = f"{parts[0].partition('-')[0]}-{version}.dist-info"
                target = self.site_packages.joinpath(*parts)
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(source, target)

    def run(self, script, *words, **variables):
        """Run a script of the app under the agent, or the command `words` if there are any."""
        (self.directory / "app.py").write_text(script, encoding="utf-8")
        return subprocess.run(
            words or [self.python, "app.py"],
            cwd=self.directory,
            env=self.environment | variables,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )


@pytest.fixture
def app(tmp_path, clean_environment, sink):
    del clean_environment["PYTHONPATH"]
    return App(tmp_path, clean_environment, sink.url)


def outputs(done):
    return done.returncode, done.stdout, done.stderr


def test_agent_comes_along(app, sink):
    """An environment with nothing installed is traced, prints nothing, and sees its own prefix."""
    done = app.run(QUERY + "import sys; print(sys.prefix)")

    assert outputs(done) == (0, f"{app.directory}/venv\n", "")
    assert sink.span_names() == ["SELECT"]
    assert sink.spans[0][0]["telemetry.distro.name"] == "spanwise"
    assert "process.memory.usage" in sink.metric_names()


def test_server_does_not_come_along(app):
    """What else is installed beside the agent can neither be imported nor be seen as installed."""
    script = (
        "import importlib.metadata as m, importlib.util as u\n"
        f"def found(name):\n    try: return u.find_spec(name)\n    except ImportError: return None\n"
        f"print([name for name in {SERVER_ONLY!r} if found(name)])\n"
        "names = {d.name for d in m.distributions()}\n"
        "print(names & {'dash', 'Flask', 'flask', 'SQLAlchemy', 'grpcio', 'PyYAML', 'pip'})\n"
        "print(m.version('opentelemetry-sdk'), m.version('Typing.Extensions') > '4')\n"
    )
    done = app.run(script)

    assert outputs(done) == (0, f"[]\nset()\n{distribution('opentelemetry-sdk').version} True\n", "")


def test_installers_see_what_is_really_installed(app):
    """Whoever lists particular directories, as pip does, is told of nothing that comes along."""
    script = "import sys, importlib.metadata as m; print([d.name for d in m.distributions(path=sys.path[:])])"

    assert outputs(app.run(script)) == (0, "[]\n", "")


def test_app_packages_win(app, sink):
    """A package that the app has is the app's, however it came there; the agent uses it."""
    app.install("wrapt", "1.17.3")
    app.write("asgiref/__init__.py", "mine = True")
    script = QUERY + "import wrapt, asgiref, psutil; print(wrapt.__file__, asgiref.mine, psutil.__file__)"

    assert outputs(app.run(script)) == (
        0,
        f"{app.site_packages}/wrapt/__init__.py True {OURS}/psutil/__init__.py\n",
        "",
    )
    assert sink.span_names() == ["SELECT"]


def test_shared_namespaces_stay_whole(app, sink):
    """Packages of the app below `google`, also those that it finds later, are importable beside ours."""
    app.write("google/mine/__init__.py", "")
    later = app.directory / "later"
    (later / "opentelemetry" / "later").mkdir(parents=True)
    (later / "opentelemetry" / "later" / "__init__.py").touch()
    script = (
        QUERY + f"import sys; sys.path.insert(0, {str(later)!r})\n"
        "import google.mine, google.protobuf, opentelemetry.later, opentelemetry.trace; print('whole')"
    )

    assert outputs(app.run(script)) == (0, "whole\n", "")
    assert sink.span_names() == ["SELECT"]


def test_api_alone_of_the_same_version_is_completed(app, sink):
    """An app that has the API alone keeps it, and gets the rest of the same version."""
    app.install("opentelemetry-api")
    script = QUERY + "import opentelemetry.trace as t, opentelemetry.sdk.trace as s; print(t.__file__, s.__file__)"

    done = app.run(script)

    assert outputs(done) == (
        0,
        f"{app.site_packages}/opentelemetry/trace/__init__.py {OURS}/opentelemetry/sdk/trace/__init__.py\n",
        "",
    )
    assert sink.span_names() == ["SELECT"]


def test_api_of_another_version_is_not_mixed(app, sink):
    """Halves of two OpenTelemetry versions are refused in one line that says how to fix it; the app runs as ever."""
    app.install("opentelemetry-api", "1.30.0")
    version = distribution("opentelemetry-api").version
    script = QUERY + "import importlib.util as u; print(u.find_spec('opentelemetry.sdk'), u.find_spec('wrapt'))"

    assert outputs(app.run(script)) == (
        0,
        "None None\n",
        f"spanwise: nothing is recorded: the app has opentelemetry-api 1.30.0 and the agent comes with {version}; "
        f"cure: {app.python} -m pip install opentelemetry-api=={version}\n",
    )
    assert sink.spans == []


def test_complete_opentelemetry_of_the_app_is_used(app, sink):
    """A newer OpenTelemetry that is complete is used as it is, and nothing of ours is added to it."""
    for name in ("api", "sdk", "proto", "exporter-otlp-proto-http", "exporter-otlp-proto-common"):
        app.install(f"opentelemetry-{name}", "1.99.0")
    for name in ("semantic-conventions", "instrumentation", "exporter-otlp-common", "exporter-http-transport"):
        app.install(f"opentelemetry-{name}", "0.79b0")
    script = QUERY + (
        "import importlib.util as u, opentelemetry.sdk.trace as s\n"
        "print(s.__file__, u.find_spec('opentelemetry.instrumentation.flask'))"
    )

    assert outputs(app.run(script)) == (0, f"{app.site_packages}/opentelemetry/sdk/trace/__init__.py None\n", "")
    assert sink.span_names() == ["SELECT"]


def test_opentelemetry_of_unknown_version_is_left_alone(app, sink):
    """A copy without metadata may be any version: the agent stays away, and says so."""
    app.write("opentelemetry/trace/__init__.py", "mine = True")

    done = app.run(QUERY + "import opentelemetry.trace; print(opentelemetry.trace.mine)")

    assert outputs(done)[:2] == (0, "True\n")
    assert done.stderr.endswith("the app has an OpenTelemetry whose version cannot be told\n")
    assert sink.spans == []


def test_package_that_cannot_be_used_is_named(app, sink):
    """A package of the app that the agent cannot work with is one line with the command that fixes it."""
    app.install("protobuf", "4.25.8")

    done = app.run(QUERY + "print('fine')")

    assert outputs(done)[:2] == (0, "fine\n")
    assert done.stderr == (
        "spanwise: nothing is recorded: the app has protobuf 4.25.8 and the agent needs another; "
        f"cure: {app.python} -m pip install 'protobuf>=5,<8'\n"
    )
    assert sink.spans == []


@pytest.mark.parametrize("name", ["packaging.py", "wrapt/__init__.py", "google.py"])
def test_module_beside_the_script_is_the_apps(app, sink, name):
    """A module that the script has beside it is not taken by ours of the same name: the agent stays away."""
    path = app.directory / name
    path.parent.mkdir(exist_ok=True)
    path.write_text("mine = True", encoding="utf-8")
    module = re.split(r"\W", name)[0]

    done = app.run(QUERY + f"import {module}; print({module}.mine)")

    assert outputs(done)[:2] == (0, "True\n")
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"spanwise: nothing is recorded: the app has a module of its own called {module} ({path})")
    assert sink.spans == []


def test_sitecustomize_and_pythonpath_of_the_app_work(app, sink):
    """An environment's own sitecustomize runs, and the user's PYTHONPATH keeps its order."""
    app.write("sitecustomize.py", "import builtins; builtins.greeting = 'hello'")
    (app.directory / "mine").mkdir()
    (app.directory / "mine" / "mine.py").touch()
    variables = agent_environment("host", sink.url, {"PYTHONPATH": str(app.directory / "mine")})

    done = app.run(QUERY + "import mine; print(greeting)", PYTHONPATH=variables["PYTHONPATH"])

    assert outputs(done) == (0, "hello\n", "")
    assert sink.span_names() == ["SELECT"]


def test_children_inherit_it(app, sink):
    """A spawned process and a started one of the same environment are traced as well."""
    script = (
        "import multiprocessing, subprocess, sys, sqlite3\n"
        "def query(): sqlite3.connect(':memory:').execute('SELECT 1').connection.close()\n"
        "if __name__ == '__main__':\n"
        "    process = multiprocessing.get_context('spawn').Process(target=query)\n"
        "    process.start(); process.join()\n"
        f"    subprocess.run([sys.executable, '-c', {QUERY!r}], check=True)\n"
    )

    assert outputs(app.run(script)) == (0, "", "")
    assert sink.span_names() == ["SELECT", "SELECT"]
    assert len({resource["process.pid"] for resource, _, _ in sink.spans}) == 2


@pytest.mark.parametrize("directory", ["venv/bin", "."])
def test_scripts_with_a_shebang_are_traced(app, sink, directory):
    """A console script of another environment and a script beside the app need no `python` before them."""
    script = app.directory / directory / "manage.py"
    script.write_text(f"#!{app.python}\n{QUERY}", encoding="utf-8")
    script.chmod(0o755)

    assert outputs(app.run("", script)) == (0, "", "")
    assert sink.span_names() == ["SELECT"]


def test_isolated_interpreter_is_left_alone(app, sink):
    """`python -I` ignores PYTHONPATH: nothing comes along, and nothing happens."""
    done = app.run("", app.python, "-I", "-c", QUERY + "import importlib.util as u; print(u.find_spec('otel_agent'))")

    assert outputs(done) == (0, "None\n", "")
    assert sink.spans == []


def test_nothing_comes_along_when_switched_off(app):
    """With OTEL_SDK_DISABLED the environment stays as it is."""
    script = "import sys, importlib.util as u; print(u.find_spec('wrapt'), len(sys.meta_path))"

    assert outputs(app.run(script, OTEL_SDK_DISABLED="true")) == (0, "None 3\n", "")


@pytest.mark.parametrize("minor", [10, 12, 13])
def test_other_pythons_get_it_too(app, sink, minor):
    """Compiled parts of another Python are left out; what has a form in Python works without them."""
    python = _python(f"3.{minor}")

    done = app.run("", python, "-S", "-c", f"import sitecustomize\n{QUERY}import wrapt; print(wrapt.__file__)")

    assert outputs(done) == (0, f"{OURS}/wrapt/__init__.py\n", "")
    assert sink.span_names() == ["SELECT"]


@pytest.mark.parametrize("version", ["2.7", "3.6", "3.9"])
def test_old_python_is_left_alone(app, version):
    """A Python that is too old for the agent runs as ever, after one line, with its own sitecustomize."""
    python = _python(version)
    (app.directory / "mine").mkdir()
    (app.directory / "mine" / "sitecustomize.py").write_text("import sys; sys.mine = 'mine'", encoding="utf-8")
    path = f"{app.environment['PYTHONPATH']}{os.pathsep}{app.directory / 'mine'}"

    done = app.run("", python, "-Bc", "import sys; print(sys.mine)", PYTHONPATH=path)

    assert outputs(done) == (
        0,
        "mine\n",
        f"spanwise: the agent needs Python 3.10 and this is {version}, so nothing is recorded here\n",
    )


def test_missing_psutil_costs_the_process_metrics_alone(app, sink):
    """Where psutil cannot be imported, spans are sent all the same, and nothing is said by default."""
    app.write("psutil.py", "raise ImportError('made for another platform')")

    assert outputs(app.run(QUERY)) == (0, "", "")
    assert sink.span_names() == ["SELECT"]
    assert "process.memory.usage" not in sink.metric_names()


def test_companions_are_all_that_is_needed():
    """Whatever comes along requires nothing that does not, and the versions in our own environment are among ours."""
    names = {item.distribution for item in COMPANIONS}
    held = held_in([str(OURS)])
    travelling = names | {name for name in held if name.startswith("opentelemetry_")} - {
        "opentelemetry_exporter_otlp",
        "opentelemetry_exporter_otlp_proto_grpc",
    }
    required = {
        requirement.name.replace("-", "_").replace(".", "_").lower()
        for name in travelling
        for requirement in map(Requirement, distribution(name).requires or [])
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""})
    }

    # Declared by the exporter and not imported: the agent has a transport of its own.
    assert required - travelling == {"googleapis_common_protos", "requests"}


@pytest.mark.parametrize("companion", COMPANIONS, ids=lambda companion: companion.distribution)
def test_bounds_are_those_of_the_requirements(companion):
    """The oldest version that does is one that OpenTelemetry's packages take, and the first that does not is none."""
    required = SpecifierSet()
    for one in distributions():
        for requirement in map(Requirement, one.requires or []) if _travels(one.name) else ():
            if requirement.name.replace("-", "_") == companion.distribution:
                required &= requirement.specifier
    has_bound = any(one.operator in {"<", "~="} for one in required)
    version = distribution(companion.distribution).version

    assert required.contains(".".join(map(str, companion.at_least)))
    assert not has_bound or not required.contains(".".join(map(str, companion.below)))
    assert companion.at_least <= tuple(map(int, re.findall(r"\d+", version))) < companion.below


def test_own_directories_are_the_scripts_and_the_current_one(tmp_path):
    """What a command line imports from before everything else."""
    script = tmp_path / "src" / "app.py"
    script.parent.mkdir()
    script.touch()

    assert own_directories(["-W", "error", str(script), "--port"], tmp_path) == [script.parent, tmp_path]
    assert own_directories(["-m", "shop"], tmp_path) == [tmp_path]


def _travels(name):
    return name.startswith("opentelemetry-") and not name.endswith("-grpc")


def _python(version):
    """A bare Python of that version, from wherever this machine has it."""
    candidates = [shutil.which(f"python{version}"), *Path(sys.base_prefix).parent.glob(f"{version}.*/bin/python")]
    for candidate in filter(None, candidates):
        if subprocess.run([candidate, "-c", ""], capture_output=True, check=False).returncode == 0:
            return candidate
    pytest.skip(f"there is no Python {version} here")


def test_server_of_another_environment_is_traced(app, sink):
    """A gunicorn with two workers, started by its console script in an environment without the agent."""
    for name in ("gunicorn", "flask", "werkzeug", "jinja2", "markupsafe", "click", "itsdangerous", "blinker"):
        app.install(name)
    app.install("packaging")
    (app.directory / "shop.py").write_text(
        "from flask import Flask\napp = Flask('shop')\n@app.get('/items/<int:i>')\ndef item(i): return str(i)\n",
        encoding="utf-8",
    )
    script = app.directory / "venv" / "bin" / "gunicorn"
    script.write_text(f"#!{app.python}\nfrom gunicorn.app.wsgiapp import run\nrun()\n", encoding="utf-8")
    script.chmod(0o755)

    command = [script, "-w", "2", "-b", "127.0.0.1:0", "--no-control-socket", "shop:app"]
    server = subprocess.Popen(command, cwd=app.directory, env=app.environment, stderr=subprocess.PIPE, text=True)
    try:
        url = next(match[0] for line in server.stderr if (match := re.search(r"http://[\d.:]+", line)))
        answers = [urllib.request.urlopen(f"{url}/items/{i}", timeout=10).read() for i in range(3)]
        has_come = sink.wait_for(lambda: len(sink.spans) == 3)
    finally:
        server.terminate()
        server.communicate()

    assert (answers, has_come) == ([b"0", b"1", b"2"], True)
    assert set(sink.span_names()) == {"GET /items/<int:i>"}
