"""Spans as the SDK makes them, in half the time: it checks again at every turn what cannot have changed.

Taken over is the usual case alone, a span without links under a sampler that keeps all; the SDK makes every other one.
A span made here has the very fields of one that the SDK makes. Where a version of the SDK has others, nothing is
taken over.
"""

import threading
from collections.abc import Callable
from typing import Any, cast

from opentelemetry import attributes as api
from opentelemetry import context as otel_context
from opentelemetry import metrics, trace
from opentelemetry.attributes import BoundedAttributes
from opentelemetry.context import Context
from opentelemetry.sdk import trace as sdk
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, Span, SynchronousMultiSpanProcessor, Tracer
from opentelemetry.sdk.trace._tracer_metrics import NoOpTracerMetrics, noop
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.trace.sampling import ALWAYS_ON, Decision, ParentBased, Sampler, StaticSampler
from opentelemetry.sdk.util import BoundedList
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags
from opentelemetry.trace.propagation import _SPAN_KEY

_UNSET = Status(StatusCode.UNSET)
_SAMPLED = TraceFlags(TraceFlags.SAMPLED)
_SAMPLED_RANDOM = TraceFlags(TraceFlags.SAMPLED | TraceFlags.RANDOM_TRACE_ID)
# The attribute of a tracer that holds what all its spans have in common, and which of them are kept for certain.
_PLAN = "_spanwise_plan"

_official: Callable[..., Any] = Tracer.start_span


class _Plan:
    """What the spans of one tracer have in common, and which of them the sampler keeps for certain."""

    def __init__(self, tracer: Tracer) -> None:
        sampler: Any = tracer.sampler
        is_simple = type(tracer._tracer_metrics) is NoOpTracerMetrics and type(sampler) is ParentBased
        self.keeps_roots = is_simple and _keeps_all(sampler._root)
        self.keeps_remote = is_simple and _keeps_all(sampler._remote_parent_sampled)
        self.keeps_local = is_simple and _keeps_all(sampler._local_parent_sampled)
        self.fields = {
            "_instrumentation_info": tracer.instrumentation_info,
            "_instrumentation_scope": tracer._instrumentation_scope,
            "_end_time": None,
            "_status": _UNSET,
            "_sampler": sampler,
            "_trace_config": None,
            "_span_processor": tracer.span_processor,
            "_limits": tracer._span_limits,
            "_record_end_metrics": noop,
        }

    def keeps(self, parent: SpanContext | None) -> bool:
        """Tell whether a span of this parent is kept, whatever else it is."""
        if parent is None:
            return self.keeps_roots
        return parent.trace_flags.sampled and (self.keeps_remote if parent.is_remote else self.keeps_local)


def _keeps_all(sampler: Sampler) -> bool:
    return type(sampler) is StaticSampler and sampler._decision is Decision.RECORD_AND_SAMPLE


def start_span(  # noqa: PLR0913, PLR0917 - the SDK's signature
    self: Tracer,
    name: str,
    context: Context | None = None,
    kind: SpanKind = SpanKind.INTERNAL,
    attributes: Any = None,
    links: Any = (),
    start_time: int | None = None,
    record_exception: bool = True,
    set_status_on_exception: bool = True,
) -> trace.Span:
    """Stand in for the SDK's method."""
    plan = self.__dict__.get(_PLAN) or self.__dict__.setdefault(_PLAN, _Plan(self))
    parent = _parent(context)
    kept = None if links or not plan.keeps(parent) or not self._is_enabled() else _bounded(attributes, self)
    if kept is None:
        return _official(  # type: ignore[no-any-return]
            self, name, context, kind, attributes, links, start_time, record_exception, set_status_on_exception
        )
    limits, span = self._span_limits, object.__new__(sdk._Span)
    span.__dict__ = {
        **plan.fields,
        "_name": name,
        "_context": _context(parent, self),
        "_parent": parent,
        "_kind": kind,
        "_resource": self.resource,
        "_attributes": kept,
        "_events": BoundedList(limits.max_events),
        "_links": BoundedList(limits.max_links),
        "_lock": threading.Lock(),
        "_record_exception": record_exception,
        "_set_status_on_exception": set_status_on_exception,
        "_start_time": vars(sdk)["time_ns"]() if start_time is None else start_time,
    }
    self.span_processor.on_start(span, parent_context=context)
    return span


def _parent(context: Context | None) -> SpanContext | None:
    span: Any = (otel_context.get_current() if context is None else context).get(_SPAN_KEY)
    if span is None or not (type(span) is sdk._Span or isinstance(span, trace.Span)):
        return None
    parent: SpanContext | None = span.get_span_context()
    return parent if parent is not None and parent.is_valid else None


def _context(parent: SpanContext | None, tracer: Tracer) -> SpanContext:
    ids = tracer.id_generator
    if parent is None:
        flags = _SAMPLED_RANDOM if ids.is_trace_id_random() else _SAMPLED
        return SpanContext(ids.generate_trace_id(), ids.generate_span_id(), False, flags)
    flags = _SAMPLED_RANDOM if parent.trace_flags.random_trace_id else _SAMPLED
    return SpanContext(parent.trace_id, ids.generate_span_id(), False, flags, parent.trace_state)


def _bounded(attributes: Any, tracer: Tracer) -> BoundedAttributes | None:
    """Return the attributes of a span, or None where they are too many."""
    limits = tracer._span_limits
    most, longest = limits.max_span_attributes, limits.max_span_attribute_length
    bounded = BoundedAttributes(most, None, False, longest)
    if attributes:
        if most is not None and len(attributes) > most:
            return None
        cleaned: Any = api._clean_attribute_value(attributes, longest)
        bounded._dict = cleaned
        bounded.dropped = len(attributes) - len(cleaned)
    return bounded


def readable_span(self: Span) -> ReadableSpan:
    """Stand in for the SDK's method: what the processors are given of a span that has ended."""
    readable = object.__new__(ReadableSpan)
    readable.__dict__ = {
        "_name": self._name,
        "_context": self._context,
        "_kind": self._kind,
        "_instrumentation_info": self._instrumentation_info,
        "_instrumentation_scope": self._instrumentation_scope,
        "_parent": self._parent,
        "_start_time": self._start_time,
        "_end_time": self._end_time,
        "_attributes": self._attributes,
        "_events": self._events,
        "_links": self._links,
        "_resource": self._resource,
        "_status": self._status,
    }
    return readable


def _is_like_the_sdk() -> bool:
    """Tell whether a span that is made here has the fields of one that the SDK makes."""
    tracer = Tracer(
        ParentBased(ALWAYS_ON),
        Resource.get_empty(),
        SynchronousMultiSpanProcessor(),  # type: ignore[no-untyped-call]
        RandomIdGenerator(),
        cast("Any", None),  # its class is deprecated, and says so
        sdk.SpanLimits(),
        InstrumentationScope(""),
        meter_provider=metrics.NoOpMeterProvider(),
    )
    official, lean = _official(tracer, "", attributes={"a": 1}), start_span(tracer, "", attributes={"a": 1})
    return _fields(official) == _fields(lean) and _fields(official._readable_span()) == _fields(
        readable_span(cast("Span", lean))
    )


def _fields(span: Any) -> dict[str, type]:
    return {name: type(value) for name, value in vars(span).items()}


def install() -> None:
    """Make all tracers start their spans in this way; AttributeError where the SDK's spans are of another kind."""
    if not _is_like_the_sdk():
        raise AttributeError("the SDK's spans have other fields")
    Tracer.start_span = start_span  # type: ignore[method-assign]
    sdk._Span._readable_span = readable_span  # type: ignore[method-assign]
