"""What requests to an HTTP server have in common."""

import pytest
from opentelemetry import context as otel_context
from opentelemetry import propagate, trace
from opentelemetry.context import Context
from opentelemetry.propagators.composite import CompositePropagator
from opentelemetry.propagators.textmap import TextMapPropagator, default_getter
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import SpanKind, StatusCode

from otel_agent import lean_http

PARENT = trace.SpanContext(1, 2, is_remote=True, trace_flags=trace.TraceFlags(1))


class OwnPropagator(TextMapPropagator):
    """Finds the caller in a header of its own."""

    def extract(self, carrier, context=None, getter=default_getter):
        found = trace.NonRecordingSpan(PARENT) if getter.get(carrier, "own") else trace.INVALID_SPAN
        return trace.set_span_in_context(found, context or Context())

    def inject(self, carrier, context=None, setter=None):
        raise NotImplementedError

    @property
    def fields(self):
        return {"own"}


@pytest.fixture
def tracer():
    """Return a tracer of a provider that sends nothing."""
    provider = TracerProvider(shutdown_on_exit=False)
    yield provider.get_tracer("shop")
    provider.shutdown()


def test_a_propagator_of_another_kind_is_asked(monkeypatch, tracer):
    """A caller is looked for in every request where headers other than those of the W3C may name it."""
    monkeypatch.setattr(propagate, "_HTTP_TEXT_FORMAT", CompositePropagator([OwnPropagator()]))

    span, _ = lean_http.start_span((tracer, "GET", None), {"own": "1"}, default_getter, {}, may_have_caller=False)

    assert span.parent == PARENT


def test_a_request_without_a_caller_begins_in_an_empty_context(tracer):
    """Nothing of what is current where the server calls the application is current in a request."""
    token = otel_context.attach(Context({"a": "b"}))

    span, context = lean_http.start_span((tracer, "GET", None), {}, default_getter, {}, may_have_caller=False)

    otel_context.detach(token)
    assert (span.parent, span.kind, dict(context)) == (None, SpanKind.SERVER, {})


def test_a_request_within_a_span_is_a_part_of_it(tracer):
    """An application that is called by another begins no trace, whatever its headers say."""
    with tracer.start_as_current_span("outer") as outer:
        span, _ = lean_http.start_span((tracer, "GET", None), {}, default_getter, {}, may_have_caller=True)

    assert (span.parent, span.kind) == (outer.get_span_context(), SpanKind.INTERNAL)


@pytest.mark.parametrize(("code", "error"), [(99, "99"), (100, None), (499, None), (500, "500")])
def test_what_the_server_did_wrong_is_an_error(tracer, code, error):
    """A status from 500 on, and one below 100, is an error of the server's span and in its measurements."""
    span, attributes = tracer.start_span("GET"), {}

    lean_http.set_status(span, attributes, code)

    assert attributes.get("error.type") == span.attributes.get("error.type") == error
    assert attributes["http.response.status_code"] == span.attributes["http.response.status_code"] == code
    assert span.status.status_code is (StatusCode.ERROR if error else StatusCode.UNSET)


def test_the_same_attributes_are_the_same_object():
    """Requests alike share their attributes, and those not alike do not."""
    one, two = {"http.request.method": "GET", "http.route": "/"}, {"http.request.method": "GET", "url.path": "/a"}

    assert lean_http.dimensions(one) is lean_http.dimensions(dict(one))
    assert lean_http.dimensions(one) == one
    assert lean_http.dimensions(two) == lean_http.active_dimensions(one) == {"http.request.method": "GET"}


@pytest.mark.parametrize(("port", "number"), [("80", 80), (8000, 8000), (None, 0), ("", 0), ("x", 0), ([], 0)])
def test_ports_are_numbers(port, number):
    """What is no port is none, and nothing that a request fails for."""
    assert lean_http.number_of(port) == number
