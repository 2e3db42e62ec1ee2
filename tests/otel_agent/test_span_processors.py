"""Who is told of a span."""

from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.trace import SpanKind

from otel_agent.span_processors import ListeningProcessors


def test_each_is_told_what_it_listens_to_in_order():
    """A processor hears of starts, endings and ends if its class does something with them, in the order of adding."""
    told = []

    class Starts(SpanProcessor):
        def on_start(self, span, parent_context=None):
            told.append(("starts", span.name))

    class Ends(SpanProcessor):
        def _on_ending(self, span):
            told.append(("is ending", span.name))

        def on_end(self, span):
            told.append(("ends", span.name))

    processors = ListeningProcessors()
    provider = TracerProvider(active_span_processor=processors)
    for processor in (Ends(), Starts(), Ends(), SpanProcessor()):
        provider.add_span_processor(processor)

    provider.get_tracer("a").start_span("b").end()

    assert told == [("starts", "b"), ("is ending", "b"), ("is ending", "b"), ("ends", "b"), ("ends", "b")]
    assert [len(calls) for calls in processors.starts] == [1] * len(SpanKind)


def test_a_processor_of_some_kinds_is_told_of_no_other():
    """A processor with `kinds` hears of spans of these alone; a kind that is none counts as an internal one."""
    told = []

    class Clients(SpanProcessor):
        kinds = frozenset({SpanKind.CLIENT})

        def on_start(self, span, parent_context=None):
            told.append(span.name)

    class Internals(Clients):
        kinds = frozenset({SpanKind.INTERNAL})

    processors = ListeningProcessors()
    for processor in (Clients(), Internals()):
        processors.add_span_processor(processor)
    tracer = TracerProvider(active_span_processor=processors).get_tracer("a")
    for kind in (*SpanKind, None):
        tracer.start_span(str(kind), kind=kind).end()

    assert told == ["SpanKind.INTERNAL", "SpanKind.CLIENT", "None"]
