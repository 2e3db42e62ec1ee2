"""A Consumer whose successor changes under load."""

from __future__ import annotations

import threading

import pytest
from builders import make_batch, make_span

from apm_collector.errors import TransientError
from apm_collector.switch import Switch
from apm_store.model import Batch

BATCH = make_batch([make_span("a")])


class _Consumer:
    """Counts batches; waits inside `consume` while its gate is shut, and complains when it was closed."""

    def __init__(self) -> None:
        self.count = 0
        self.entered, self.gate = threading.Event(), threading.Event()
        self.gate.set()
        self.is_closed = False

    def consume(self, batch: Batch) -> None:
        self.entered.set()
        self.gate.wait(20)
        if self.is_closed:
            raise TransientError("closed")
        self.count += 1


def test_each_batch_goes_one_way() -> None:
    """Before the turn the former successor gets it, after it the other one."""
    former, other = _Consumer(), _Consumer()
    switch = Switch(former)
    switch.consume(BATCH)

    is_idle = switch.turn(other, 1)
    switch.consume(BATCH)

    assert is_idle
    assert (former.count, other.count) == (1, 1)


def test_a_turn_waits_for_what_is_under_way() -> None:
    """The former successor is idle when the turn returns, while new batches already go the other way."""
    former, other = _Consumer(), _Consumer()
    former.gate.clear()
    switch = Switch(former)
    sender = threading.Thread(target=switch.consume, args=(BATCH,))
    sender.start()
    assert former.entered.wait(10)
    results: list[bool] = []
    turner = threading.Thread(target=lambda: results.append(switch.turn(other, 20)))
    turner.start()
    while other.count == 0:
        switch.consume(BATCH)
        if other.count:
            break

    is_waiting = turner.is_alive()
    former.gate.set()
    turner.join(10)
    sender.join(10)

    assert is_waiting
    assert results == [True]


def test_a_turn_gives_up_in_time() -> None:
    """A batch that never ends does not hold the change up."""
    former = _Consumer()
    former.gate.clear()
    switch = Switch(former)
    sender = threading.Thread(target=switch.consume, args=(BATCH,))
    sender.start()
    assert former.entered.wait(10)

    is_idle = switch.turn(_Consumer(), 0.05)

    former.gate.set()
    sender.join(10)
    assert not is_idle


def test_a_failure_leaves_the_way() -> None:
    """A batch that was refused is under way no longer."""
    former = _Consumer()
    former.is_closed = True
    switch = Switch(former)

    with pytest.raises(TransientError):
        switch.consume(BATCH)

    assert switch.turn(_Consumer(), 0)


def test_under_load_no_batch_meets_a_closed_successor() -> None:
    """Successors are closed as soon as the turn says that they are idle; none is ever asked again."""
    consumers = [_Consumer()]
    switch = Switch(consumers[0])
    stop, failures, sent = threading.Event(), [], []

    def send() -> None:
        try:
            while not stop.is_set():
                switch.consume(BATCH)
                sent.append(1)
        except TransientError as error:
            failures.append(error)

    senders = [threading.Thread(target=send) for _ in range(3)]
    for sender in senders:
        sender.start()
    for _ in range(200):
        consumers.append(_Consumer())
        assert switch.turn(consumers[-1], 10)
        consumers[-2].is_closed = True
    stop.set()
    for sender in senders:
        sender.join(10)

    assert failures == []
    assert len(sent) > 0
