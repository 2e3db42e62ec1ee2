"""Waiting for the first call of one of several methods."""

import threading
from collections.abc import Callable
from typing import Any

import pytest

from otel_agent.first_calls import FirstCalls


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

    def wait(self, load: Callable[[], object] = lambda: None) -> FirstCalls:
        """Begin to wait for the first call."""
        first_calls = FirstCalls()

        def note_and_load() -> None:
            self.told.append("load")
            load()

        first_calls.wait_for(self.speaker, "say", note_and_load, lambda: self.wrap("traced"))
        return first_calls


@pytest.fixture
def calls() -> Calls:
    """Return a class to call, and a list of what has happened."""
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
    FirstCalls().wait_for(calls.speaker, "say", lambda: None, lambda: None)

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
    first_calls.wait_for(other.speaker, "say", lambda: None, lambda: other.wrap("traced"))

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
