"""Which files are the host's own."""

import os
import sys
import sysconfig
from pathlib import Path

import pytest

import otel_agent.guard
from otel_agent.source_files import function_name, host_frame, is_host_file


@pytest.mark.parametrize(
    "path",
    [
        "/srv/shop/src/shop/views.py",
        "/srv/shop/manage.py",
        "relative.py",
        f"{sysconfig.get_path('scripts')}/job.py",
        str(Path(sysconfig.get_path("stdlib")).parent / "shop" / "site.py"),
    ],
)
def test_code_outside_of_libraries_is_the_hosts(path):
    """Wherever it lies, with or without `src`."""
    assert is_host_file(path)


@pytest.mark.parametrize(
    "path",
    [
        os.__file__,
        pytest.__file__,
        otel_agent.guard.__file__,
        "/srv/shop/.venv/lib/python3.12/site-packages/flask/app.py",
        "/usr/lib/python3/dist-packages/yaml/__init__.py",
        f"{sysconfig.get_path('scripts')}/gunicorn",
        "<string>",
        "<frozen importlib._bootstrap>",
        "",
    ],
)
def test_libraries_launchers_and_made_up_files_are_not(path):
    """Neither the standard library, nor packages, nor the agent, nor what is in no file."""
    assert not is_host_file(path)


def test_the_innermost_frame_of_the_host_is_found():
    """Frames of libraries between it and us are passed over."""
    library = compile("def call(function): return function()", "/srv/.venv/lib/site-packages/lib.py", "exec")
    namespace = {}
    exec(library, namespace)

    frame = namespace["call"](lambda: namespace["call"](sys._getframe))

    assert host_frame(frame).f_code.co_filename == __file__


def test_a_stack_without_host_code_has_none():
    """The search ends at the bottom of the stack."""
    namespace = {}
    exec(compile("import sys\ndef frame(): return sys._getframe()", "<made>", "exec"), namespace)
    frame = namespace["frame"]()

    found = host_frame(frame if frame.f_back is None else None)

    assert found is None


def test_a_function_is_named_with_its_module():
    """A namespace without a proper name leaves the module out."""
    code = is_host_file.__code__

    assert function_name(code, {"__name__": "shop"}) == "shop.is_host_file"
    assert function_name(code, {"__name__": object()}) == "is_host_file"
