"""Being told of the import of a library."""

import importlib
import importlib.util
import sys
from collections.abc import Callable, Iterator
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType

import pytest
import wrapt

from otel_agent.imports import before_imports, importing_from, stop_looking, when_imported


@pytest.fixture
def write_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str, str], None]]:
    """Return a function that writes a module of a given name and text, which can then be imported."""
    monkeypatch.syspath_prepend(tmp_path)
    before = set(sys.modules)

    def write(name: str, text: str) -> None:
        path = tmp_path.joinpath(*name.split(".")).with_suffix(".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        importlib.invalidate_caches()

    yield write
    for name in set(sys.modules) - before:
        if getattr(sys.modules[name], "__file__", None) and str(tmp_path) in str(sys.modules[name].__file__):
            del sys.modules[name]


def test_the_call_comes_before_the_importer_goes_on(write_library):
    """The library is complete when the call is made, and what that does to it is what its importer finds."""
    write_library("spanwise_lib_a", "word = 'plain'")

    def call(library: ModuleType) -> None:
        library.word += ", then traced"  # type: ignore[attr-defined]

    when_imported("spanwise_lib_a", call)

    assert importlib.import_module("spanwise_lib_a").word == "plain, then traced"


def test_each_call_is_made_once_and_in_order(write_library):
    """Several calls wait for one library; importing it again or anew makes none of them again."""
    write_library("spanwise_lib_b.part", "")
    calls = []
    when_imported("spanwise_lib_b.part", lambda _: calls.append("first"))
    when_imported("spanwise_lib_b.part", lambda _: calls.append("second"))

    part = importlib.import_module("spanwise_lib_b.part")
    importlib.reload(part)

    assert calls == ["first", "second"]


def test_what_is_imported_already_is_called_at_once():
    """A library that is there does not have to be imported again."""
    calls = []

    when_imported("pathlib", calls.append)

    assert calls == [importlib.import_module("pathlib")]


def test_a_library_keeps_its_own_loader(write_library):
    """After the import nothing in the module tells of us: resources and sources are read through its loader."""
    write_library("spanwise_lib_c", "seen = type(__loader__).__name__, type(__spec__.loader).__name__")
    when_imported("spanwise_lib_c", lambda _: None)

    library = importlib.import_module("spanwise_lib_c")

    assert library.seen == ("SourceFileLoader", "SourceFileLoader")
    assert isinstance(library.__spec__.loader, SourceFileLoader)


def test_a_failed_import_is_tried_again(write_library):
    """An import that raises raises to its importer alone, and the call is made when it succeeds."""
    write_library("spanwise_lib_d", "raise RuntimeError('not yet')")
    calls = []
    when_imported("spanwise_lib_d", calls.append)
    with pytest.raises(RuntimeError, match="not yet"):
        importlib.import_module("spanwise_lib_d")
    write_library("spanwise_lib_d", "ready = 'the text has another length now'")

    library = importlib.import_module("spanwise_lib_d")

    assert calls == [library]


def test_a_library_that_is_only_looked_for_is_not_called(write_library):
    """Asking whether a library is there, and for its file, is answered as ever and is no import."""
    write_library("spanwise_lib_e", "")
    calls = []
    when_imported("spanwise_lib_e", calls.append)

    spec = importlib.util.find_spec("spanwise_lib_e")

    assert spec is not None
    assert spec.loader is not None
    assert spec.loader.get_filename("spanwise_lib_e") == spec.origin  # type: ignore[attr-defined]
    assert importlib.util.find_spec("spanwise_lib_that_is_not_there") is None
    assert calls == []


def test_a_lazy_import_is_told_of_when_it_happens(write_library):
    """With importlib's LazyLoader the call is made when the module is first touched."""
    write_library("spanwise_lib_f", "word = 'lazy'")
    calls = []
    when_imported("spanwise_lib_f", lambda _: calls.append("loaded"))
    spec = importlib.util.find_spec("spanwise_lib_f")
    spec.loader = importlib.util.LazyLoader(spec.loader)
    module = importlib.util.module_from_spec(spec)
    sys.modules["spanwise_lib_f"] = module
    spec.loader.exec_module(module)
    before = list(calls)

    word = module.word

    assert (before, word, calls) == ([], "lazy", ["loaded"])


def test_others_hear_of_the_import_too(write_library):
    """A tool that has put wrapt's finder before or behind ours is told once, and so are we."""
    write_library("spanwise_lib_g", "")
    calls = []
    when_imported("spanwise_lib_g", lambda _: calls.append("ours"))
    wrapt.register_post_import_hook(lambda _: calls.append("theirs"), "spanwise_lib_g")

    importlib.import_module("spanwise_lib_g")

    assert sorted(calls) == ["ours", "theirs"]


def test_who_looks_before_an_import_may_import_it_first(write_library):
    """A module that is loaded while it is looked for is the one that the importer gets; there is no second one."""
    write_library("spanwise_lib_h.part", "")
    loaded: list[ModuleType] = []

    def look(name: str) -> None:
        if name == "spanwise_lib_h" and not loaded:
            loaded.append(sys.modules[__name__])
            loaded.append(importlib.import_module("spanwise_lib_h.part"))

    before_imports(look)
    try:
        part = importlib.import_module("spanwise_lib_h.part")
    finally:
        stop_looking(look)

    library = sys.modules["spanwise_lib_h"]
    assert part is loaded[1] is library.part
    assert type(library.__spec__.loader) is type(library.__loader__)


def test_own_imports_pass_by_what_the_host_has_put_in_front(write_library, tmp_path):
    """A thread finds its modules on the paths that are given; all others, and all later ones, on sys.path."""
    write_library("spanwise_lib_i", "")
    before = [path for path in sys.path if path != str(tmp_path)]

    with importing_from(before), pytest.raises(ModuleNotFoundError, match="spanwise_lib_i"):
        importlib.import_module("spanwise_lib_i")

    assert importlib.import_module("spanwise_lib_i").__name__ == "spanwise_lib_i"
