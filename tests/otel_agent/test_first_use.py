"""Waiting for the first use of something."""

import threading
import time
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest

from otel_agent import first_use as module
from otel_agent.first_use import FirstUse, is_call_from_host


class Calls:
    """A class with a method that is waited for, and what is done at its first call."""

    def __init__(self) -> None:
        self.told: list[str] = []
        told = self.told

        class Speaker:
            def __init__(self, name: str) -> None:
                self.name = name

            def say(self, word: str) -> str:
                told.append(f"said {word}")
                return word

        self.speaker = Speaker

    def wrap(self, by: str) -> None:
        """Put a wrapping around the method as it is now."""
        wrapped: Callable[..., Any] = self.speaker.say

        def say(instance: Any, word: str) -> str:
            self.told.append(by)
            return str(wrapped(instance, word))

        self.speaker.say = say  # type: ignore[method-assign]

    def wait(self, load: Callable[[], object] = lambda: None) -> FirstUse:
        """Begin to wait for the first call."""
        first_calls = FirstUse()

        def note_and_load() -> None:
            self.told.append("load")
            load()

        first_calls.at_call(self.speaker, "say", note_and_load, lambda: self.wrap("traced"))
        return first_calls


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Calls:
    """Return a class to call, and a list of what has happened."""
    monkeypatch.setattr(module._turn, "patience_s", module._turn.patience_s)  # it is less after the first vain wait
    return Calls()


def test_first_call_goes_through_the_wrapping(calls):
    """Nothing happens before the first call; that one is wrapped as all that follow, and loads once."""
    calls.wait()
    before = list(calls.told)

    words = [calls.speaker("host").say(word) for word in ("one", "two")]

    assert before == []
    assert words == ["one", "two"]
    assert calls.told == ["load", "traced", "said one", "traced", "said two"]


@pytest.mark.parametrize("name", ["OtelBatchSpanProcessor", "otel_agent.guard", "opentelemetry.sdk"])
def test_own_calls_do_not_count(calls, name):
    """What the SDK's threads and loggers do is no use that the host makes of the library."""
    calls.wait()

    calls.speaker(name).say("ours")

    assert calls.told == ["said ours"]


def test_what_others_have_put_on_stays_on_top(calls):
    """A wrapping that came later is still the outer one, is called once, and sees every call."""
    calls.wait()
    calls.wrap("theirs")

    for word in ("one", "two"):
        calls.speaker("host").say(word)

    assert calls.told == ["theirs", "load", "traced", "said one", "theirs", "traced", "said two"]


def test_a_call_from_within_goes_straight_through(calls):
    """What is loaded may itself use the library."""
    calls.wait(lambda: calls.speaker("host").say("inner"))

    calls.speaker("host").say("outer")

    assert calls.told == ["load", "said inner", "traced", "said outer"]


def test_a_second_thread_waits_for_the_first(calls):
    """No call slips past the wrapping while another thread is preparing it."""
    is_loading, go_on = threading.Event(), threading.Event()
    calls.wait(lambda: (is_loading.set(), go_on.wait(10)))
    first = threading.Thread(target=lambda: calls.speaker("host").say("one"))
    first.start()
    is_loading.wait(10)
    second = threading.Thread(target=lambda: calls.speaker("host").say("two"))
    second.start()

    go_on.set()
    first.join()
    second.join()

    assert calls.told.count("load") == 1
    assert calls.told.count("traced") == 2


def test_nothing_is_left_behind(calls):
    """After the first call the class has the wrapping itself, or its own method where there is none."""
    own = calls.speaker.say
    FirstUse().at_call(calls.speaker, "say", lambda: None, lambda: None)

    calls.speaker("host").say("one")

    assert calls.speaker.say is own


def test_an_instance_without_a_name_is_called_all_the_same(calls):
    """An object that was never initialised fails in the method, or not, as it would without the agent."""
    calls.wait()

    word = calls.speaker.__new__(calls.speaker).say("nameless")

    assert word == "nameless"


def test_the_first_call_of_one_method_is_that_of_all(calls):
    """Whatever waits is loaded and wrapped together."""
    other = Calls()
    first_calls = calls.wait()
    first_calls.at_call(other.speaker, "say", lambda: None, lambda: other.wrap("traced"))

    calls.speaker("host").say("one")

    assert "__wrapped__" not in vars(other.speaker.say)
    assert other.speaker("OtelThread").say("two") == "two"
    assert other.told == ["traced", "said two"]


def test_it_can_begin_without_a_call(calls):
    """Whoever knows that the host is about to use a method has it wrapped before."""
    calls.wait().begin()
    before = list(calls.told)

    calls.speaker("host").say("one")

    assert (before, calls.told) == (["load"], ["load", "traced", "said one"])


def test_nothing_is_wrapped_where_there_is_nothing_to_tell(calls):
    """When the preparation says that there is no use, the method stays what it was."""
    first_use = FirstUse(lambda: False)
    first_use.at_call(calls.speaker, "say", lambda: calls.told.append("load"), lambda: calls.wrap("traced"))

    calls.speaker("host").say("one")

    assert calls.told == ["said one"]


def test_a_function_of_a_module_stays_the_one_that_was_imported_by_name():
    """Whoever took a function from its module before holds what is there after, and calls the wrapping."""
    library, told = ModuleType("library"), []
    library.speak = lambda word: told.append(word) or word
    first_use = FirstUse()

    def wrap() -> None:
        wrapped = library.speak
        library.speak = lambda word: wrapped(f"traced {word}")

    first_use.at_call(library, "speak", lambda: None, wrap, is_call_from_host)
    speak = library.speak

    words = [speak("one"), library.speak("two")]

    assert words == told == ["traced one", "traced two"]
    assert library.speak is speak


def test_calls_from_the_standard_library_do_not_count():
    """What Python's own modules do while they are imported is no use by the host."""
    library, begun = ModuleType("library"), []
    library.speak = lambda: None
    FirstUse(lambda: begun.append(True) or True).at_call(
        library, "speak", lambda: None, lambda: None, is_call_from_host
    )

    exec("speak()", {"__name__": "json.decoder", "speak": library.speak})
    before = list(begun)
    exec("speak()", {"__name__": "shop", "speak": library.speak})

    assert (before, begun) == ([], [True])


def test_whoever_has_waited_in_vain_waits_no_more(calls):
    """A preparation that hangs stops each of the host's calls at most once, and a call then goes straight through."""
    is_loading, go_on = threading.Event(), threading.Event()
    module._turn.patience_s = 0.2
    calls.wait(lambda: (is_loading.set(), go_on.wait(20)))
    first = threading.Thread(target=lambda: calls.speaker("host").say("one"))
    first.start()
    is_loading.wait(10)
    began_s = time.monotonic()

    for _ in range(10):
        calls.speaker("host").say("two")
    took_s = time.monotonic() - began_s
    go_on.set()
    first.join()

    assert took_s < 1
    assert calls.told.count("said two") == 10
