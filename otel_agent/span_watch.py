"""How the agent hears of the host's spans."""

from opentelemetry import trace
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider

# Where in a SpanContext, which is a tuple: its properties cost a call each, on every span.
SPAN_ID, FLAGS = 1, 3


def watch_spans(processor: SpanProcessor) -> bool:
    """Have the global provider tell a processor of its spans; False where the provider is not the SDK's."""
    provider = trace.get_tracer_provider()
    if not isinstance(provider, TracerProvider):
        return False
    provider.add_span_processor(processor)
    return True
