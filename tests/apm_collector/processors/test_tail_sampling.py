"""Whole traces are kept or dropped, nothing acknowledged is lost, and kept spans say what they stand for."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from builders import MS, make_batch, make_span

from apm_collector.errors import PermanentError, TransientError
from apm_collector.pipeline import ProcessorSettings
from apm_collector.processors.tail_sampling import TailSamplingProcessor, read_config

from .conftest import Sink

ERRORS = {"name": "errors", "type": "status_code", "status_code": {"status_codes": ["ERROR"]}}
HALF = {"name": "half", "type": "probabilistic", "probabilistic": {"sampling_percentage": 50}}
LOW, HIGH = 0x10, 0xFFFFFFFFFFFFFF  # trace ids below and above every threshold


class Clock:
    """Seconds that a test sets."""

    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    """A clock that stands still."""
    return Clock()


@pytest.fixture
def make(sink: Sink, settings: ProcessorSettings, clock: Clock) -> Iterator[Callable[..., TailSamplingProcessor]]:
    """Makes a processor in front of the sink; two made one after the other are a restart."""
    made: list[TailSamplingProcessor] = []

    def make_one(*policies: dict, **keys: object) -> TailSamplingProcessor:
        config = read_config({"decision_wait": "10s", "policies": list(policies or [ERRORS]), **keys}, "tail_sampling")
        made.append(TailSamplingProcessor(config, sink, "tail_sampling", settings, monotonic_s=clock))
        return made[-1]

    yield make_one
    for processor in made:
        processor._spool.close()


def _names(sink: Sink) -> list[str]:
    return sorted(span.name for span in sink.spans())


def test_a_trace_is_decided_as_a_whole_when_its_time_has_come(
    make: Callable[..., TailSamplingProcessor], sink: Sink, clock: Clock, dropped: Counter
) -> None:
    """An error that comes later keeps the spans that came before; a trace without one goes."""
    processor = make()
    processor.consume(make_batch([make_span("root", trace=1), make_span("other", trace=2, span=2)]))
    clock.now_s += 5
    processor.consume(make_batch([make_span("failed", trace=1, span=3, failed=True)]))
    processor.decide()
    before = _names(sink)

    clock.now_s += 5
    processor.decide()

    assert before == []
    assert _names(sink) == ["failed", "root"]
    assert {reason: items for (_, reason), items in dropped.items()} == {"tail_sampling: not sampled": 1}


def test_spans_that_come_late_share_the_decision(
    make: Callable[..., TailSamplingProcessor], sink: Sink, clock: Clock, dropped: Counter
) -> None:
    """They are handed on or dropped at once, with the same threshold."""
    processor = make(ERRORS, HALF)
    processor.consume(make_batch([make_span("in", trace=HIGH), make_span("out", trace=LOW, span=2)]))
    clock.now_s += 10
    processor.decide()

    processor.consume(make_batch([make_span("late in", trace=HIGH, span=3), make_span("late out", trace=LOW, span=4)]))

    assert _names(sink) == ["in", "late in"]
    assert {span.trace_state for span in sink.spans()} == {"ot=th:8"}
    assert dropped.total() == 2


def test_what_was_acknowledged_survives_a_crash(
    make: Callable[..., TailSamplingProcessor], sink: Sink, clock: Clock
) -> None:
    """A processor that vanishes leaves a spool, which the next one takes up and decides about."""
    make().consume(make_batch([make_span("failed", trace=1, failed=True), make_span("fine", trace=2, span=2)]))

    restarted = make()
    restarted.start()
    restarted.stop()

    assert _names(sink) == ["failed"]
    assert not list(Path(restarted._settings.spool_dir).rglob("*.spool"))


def test_replayed_spans_are_told(
    sink: Sink, settings: ProcessorSettings, make: Callable[..., TailSamplingProcessor]
) -> None:
    """So that the counts of the new process add up."""
    make().consume(make_batch([make_span("a"), make_span("b", span=2)]))
    replayed: list[int] = []
    told = ProcessorSettings(settings.on_dropped, settings.spool_dir, lambda signal, items: replayed.append(items))
    config = read_config({"policies": [ERRORS]}, "tail_sampling")
    restarted = TailSamplingProcessor(config, sink, "tail_sampling", told)

    restarted.start()
    restarted.stop()

    assert sum(replayed) == 2


def test_what_cannot_be_handed_on_is_tried_again(
    make: Callable[..., TailSamplingProcessor], sink: Sink, clock: Clock
) -> None:
    """A busy store costs nothing: the spans stay in memory and in the spool until it takes them."""
    processor = make()
    processor.consume(make_batch([make_span("failed", failed=True)]))
    clock.now_s += 10
    sink.error = TransientError("busy")
    processor.decide()
    spooled = list(Path(processor._settings.spool_dir).rglob("*.spool"))

    sink.error = None
    processor.decide()

    assert spooled
    assert _names(sink) == ["failed"]
    assert not list(Path(processor._settings.spool_dir).rglob("*.spool"))


def test_what_stays_undelivered_at_the_stop_is_left_to_the_next_process(
    make: Callable[..., TailSamplingProcessor], sink: Sink
) -> None:
    """Stopping decides; what the store does not take then lies in the spool."""
    processor = make()
    processor.consume(make_batch([make_span("failed", failed=True)]))
    sink.error = TransientError("busy")
    processor.stop()
    processor.stop()

    sink.error = None
    restarted = make()
    restarted.start()
    restarted.stop()

    assert _names(sink) == ["failed"]


def test_what_is_refused_for_good_is_counted(
    make: Callable[..., TailSamplingProcessor], sink: Sink, dropped: Counter
) -> None:
    """It is not tried for ever."""
    processor = make()
    processor.consume(make_batch([make_span("failed", failed=True)]))
    sink.error = PermanentError("no")

    processor.stop()

    assert {reason: items for (_, reason), items in dropped.items()} == {"tail_sampling: refused by the exporter": 1}


def test_too_many_traces_are_decided_early_and_not_lost(
    make: Callable[..., TailSamplingProcessor], sink: Sink, dropped: Counter
) -> None:
    """The oldest go first, with the decision that their spans so far call for."""
    processor = make(num_traces=2)

    for number in range(1, 6):
        processor.consume(make_batch([make_span(f"t{number}", trace=number, span=number, failed=number < 3)]))

    assert _names(sink) == ["t1", "t2"]
    assert dropped.total() == 1


def test_a_spool_that_cannot_be_written_refuses(
    make: Callable[..., TailSamplingProcessor], settings: ProcessorSettings
) -> None:
    """What cannot be made durable is not acknowledged."""
    processor = make()
    for path in sorted(settings.spool_dir.rglob("*"), reverse=True):
        path.rmdir()

    with pytest.raises(TransientError, match="cannot be written"):
        processor.consume(make_batch([make_span("a")]))


def test_resources_and_scopes_stay_with_their_spans(make: Callable[..., TailSamplingProcessor], sink: Sink) -> None:
    """Each span is found under the resource that it came with."""
    processor = make({"name": "all", "type": "always_sample"})
    for service in ("shop", "billing"):
        processor.consume(make_batch([make_span(service, span=len(service))], service=service))

    processor.stop()

    groups = [group for batch in sink.batches for group in batch.request.resource_spans]
    assert sorted(
        (group.resource.attributes[0].value.string_value, group.scope_spans[0].spans[0].name) for group in groups
    ) == [("billing", "billing"), ("shop", "shop")]


def test_counts_stay_right_under_sampling(make: Callable[..., TailSamplingProcessor], sink: Sink) -> None:
    """Weights of kept spans add up to all spans, errors are all there with weight one."""
    rng, total = random.Random(4), 4000
    processor = make(ERRORS, {"name": "t", "type": "probabilistic", "probabilistic": {"sampling_percentage": 25}})
    spans = [make_span("op", trace=rng.getrandbits(128), span=n + 1, failed=n < 200) for n in range(total)]
    processor.consume(make_batch(spans))

    processor.stop()

    kept = sink.spans()
    weights = [4 if span.trace_state == "ot=th:c" else 1 for span in kept]
    assert sum(span.status.code == 2 for span in kept) == 200
    assert all(span.trace_state == "" for span in kept if span.status.code == 2)
    assert sum(weights) == pytest.approx(total, rel=0.1)


def test_many_threads_lose_nothing(
    make: Callable[..., TailSamplingProcessor], sink: Sink, clock: Clock, dropped: Counter
) -> None:
    """Every span is handed on once or counted as dropped."""
    processor = make(num_traces=20, decision_wait="100ms")
    processor.start()

    def send(number: int) -> None:
        processor.consume(
            make_batch([make_span("op", trace=number % 100 + 1, span=number + 1, failed=number % 3 == 0)])
        )
        clock.now_s += 0.01

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(send, range(500)))
    processor.stop()

    ids = [span.span_id for span in sink.spans()]
    assert len(ids) == len(set(ids))
    assert len(ids) + dropped.total() == 500


def test_slow_traces_are_kept(make: Callable[..., TailSamplingProcessor], sink: Sink) -> None:
    """The configuration's policies are those that decide."""
    slow = {"name": "s", "type": "latency", "latency": {"threshold_ms": 100}}
    processor = make({"name": "and", "type": "and", "and": {"and_sub_policy": [slow, ERRORS]}})
    processor.consume(
        make_batch(
            [
                make_span("slow", trace=1, duration_ns=200 * MS),
                make_span("slow and failed", trace=2, span=2, duration_ns=200 * MS, failed=True),
                make_span("failed", trace=3, span=3, failed=True),
            ]
        )
    )

    processor.stop()

    assert _names(sink) == ["slow and failed"]
