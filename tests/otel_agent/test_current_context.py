"""The current context."""

import contextvars

from opentelemetry import context, trace
from opentelemetry.trace import INVALID_SPAN

from otel_agent.current_context import attach, detach, get_current, with_span


def test_it_is_the_one_that_opentelemetry_says():
    """What is attached is current, and what was before is again when it is detached."""
    before = get_current()
    attached = context.set_value("a", 1)
    token = context.attach(attached)
    within = get_current()
    context.detach(token)

    assert within is attached is not before
    assert get_current() is before is context.get_current()


def test_it_changes_as_opentelemetry_changes_it():
    """A span that is attached is the current one for everybody, until it is detached."""
    outer = context.set_value("a", 1)
    token = attach(with_span(INVALID_SPAN, outer))
    within = trace.get_current_span(), context.get_value("a")
    detach(token)

    assert within == (INVALID_SPAN, 1)
    assert context.get_current() == {}
    assert outer == {"a": 1}


def test_what_cannot_be_detached_is_logged_as_by_opentelemetry(caplog):
    """A token of another context, or one that has been used, raises nothing."""
    token = contextvars.copy_context().run(attach, context.set_value("a", 1))
    detach(token)
    used = attach(context.get_current())
    detach(used)
    detach(used)

    assert [record.message for record in caplog.records] == ["Failed to detach context"] * 2
