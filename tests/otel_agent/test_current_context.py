"""The current context."""

from opentelemetry import context

from otel_agent.current_context import get_current


def test_it_is_the_one_that_opentelemetry_says():
    """What is attached is current, and what was before is again when it is detached."""
    before = get_current()
    attached = context.set_value("a", 1)
    token = context.attach(attached)
    within = get_current()
    context.detach(token)

    assert within is attached is not before
    assert get_current() is before is context.get_current()
