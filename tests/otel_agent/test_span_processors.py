"""Who is told of a span."""

from opentelemetry.sdk.trace import SpanProcessor, TracerProvider

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
    assert len(processors._starts) == 1
