"""Spans as the SDK makes them, in a third of the time: it checks again at every turn what cannot have changed.

Taken over is the usual case alone: a span without links, under a sampler that keeps all, of a provider that the agent
has made. The SDK makes every other one. A span made here has the very fields of one that the SDK makes. Where a version
of the SDK has others, nothing is taken over.
"""

from _thread import allocate_lock
from collections.abc import Callable
from random import getrandbits
from typing import Any, cast

from opentelemetry import metrics, trace
from opentelemetry.attributes import BoundedAttributes
from opentelemetry.context import Context
from opentelemetry.sdk import trace as sdk
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Tracer
from opentelemetry.sdk.trace._tracer_metrics import NoOpTracerMetrics, noop
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.trace.sampling import ALWAYS_ON, Decision, ParentBased, Sampler, StaticSampler
from opentelemetry.sdk.util import BoundedList
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import INVALID_SPAN, SpanContext, SpanKind, Status, StatusCode, TraceFlags
from opentelemetry.trace.propagation import _SPAN_KEY

from otel_agent.attribute_values import CleanAttributes, clean_value, cleaned
from otel_agent.current_context import get_current
from otel_agent.span_attributes import SpanAttributes
from otel_agent.span_processors import ListeningProcessors

_UNSET = Status(StatusCode.UNSET)
_SAMPLED = TraceFlags(TraceFlags.SAMPLED)
_SAMPLED_RANDOM = TraceFlags(TraceFlags.SAMPLED | TraceFlags.RANDOM_TRACE_ID)
_NO_TRACE_STATE = INVALID_SPAN.get_span_context().trace_state
_NOTHING: Any = BoundedList(0)
_PLAIN = frozenset({str, int, bool, float})
# The attribute of a tracer that holds what all its spans have in common, and which of them are kept for certain.
_PLAN = "_spanwise_plan"
# What the SDK's own way to end a span uses; where it uses something else, it does something else.
_END_NAMES = {
    *("_lock", "_start_time", "RuntimeError", "_end_time", "logger", "warning", "time_ns", "_attributes"),
    *("_immutable", "_record_end_metrics", "_span_processor", "_on_ending", "on_end", "_readable_span"),
}

_new = object.__new__
_new_tuple = tuple.__new__
_official: Callable[..., Any] = Tracer.start_span


class LeanSpan(sdk._Span):
    """A span whose class holds what the spans of its tracer have in common, and that makes its lists when needed."""

    is_lean = True
    _events: Any = _NOTHING
    _links: Any = _NOTHING
    _status = _UNSET
    _start_time: int
    _end_time: int | None = None
    _trace_config = None
    _record_exception = True
    _set_status_on_exception = True
    _record_end_metrics = staticmethod(noop)
    _attributes: Any
    _span_processor: ListeningProcessors

    def _add_event(self, event: Any) -> None:
        if self._events is _NOTHING:
            vars(self).setdefault("_events", self._new_events())  # type: ignore[no-untyped-call]
        super()._add_event(event)

    def _add_link(self, link: Any) -> None:
        if self._links is _NOTHING:
            vars(self).setdefault("_links", self._new_links([]))
        super()._add_link(link)

    def set_attribute(self, key: str, value: Any) -> None:
        """Set a plain value where no limit is to be heeded, and leave the others to the SDK."""
        attributes = self._attributes
        is_plain = type(key) is str and key and type(value) in _PLAIN and hasattr(attributes, "is_lean")
        if not (is_plain and attributes.has_room_for(1)):
            super().set_attribute(key, value)
            return
        clean = clean_value(value)
        with self._lock:
            if self._end_time is not None:
                sdk.logger.warning("Setting attribute on ended span.")
                return
            attributes.own()
            attributes._dict[key] = clean

    def end(self, end_time: int | None = None) -> None:
        """Tell the processors of the span itself, where the SDK tells them of a copy: nobody can change it any more."""
        with self._lock:
            if self._end_time is not None:
                sdk.logger.warning("Calling end() on an ended span.")
                return
            self._end_time = vars(sdk)["time_ns"]() if end_time is None else end_time
            self._attributes._immutable = True
        number: int = self._kind._value_
        processors = self._span_processor
        for call in processors.endings[number]:
            call(self)
        for call in processors.ends[number]:
            call(self)


class _Plan:
    """What the spans of one tracer have in common, and which of them the sampler keeps for certain."""

    def __init__(self, tracer: Tracer) -> None:
        sampler: Any = tracer.sampler
        is_simple = (
            type(tracer._tracer_metrics) is NoOpTracerMetrics
            and type(sampler) is ParentBased
            and type(tracer.span_processor) is ListeningProcessors
            and type(tracer.id_generator) is RandomIdGenerator
        )
        self.keeps_roots = is_simple and _keeps_all(sampler._root)
        self.keeps_remote = is_simple and _keeps_all(sampler._remote_parent_sampled)
        self.keeps_local = is_simple and _keeps_all(sampler._local_parent_sampled)
        self.processors: Any = tracer.span_processor
        self.ids = tracer.id_generator
        limits = tracer._span_limits
        self.most_attributes = limits.max_span_attributes
        self.longest_value = limits.max_span_attribute_length
        fields = {"maxlen": self.most_attributes, "max_value_len": self.longest_value}
        self.attributes_class: Any = type("BoundedAttributes", (SpanAttributes,), fields)
        self.span_class: Any = type(
            "_Span",
            (LeanSpan,),
            {
                "_instrumentation_info": tracer.instrumentation_info,
                "_instrumentation_scope": tracer._instrumentation_scope,
                "_sampler": sampler,
                "_span_processor": tracer.span_processor,
                "_limits": limits,
            },
        )

    def bounded(self, attributes: Any) -> Any:
        """Return the attributes of a span, or None where they are too many or no dictionary."""
        bounded = _new(self.attributes_class)
        bounded._lock = allocate_lock()
        if not attributes:
            bounded._dict = {}
            return bounded
        kind = type(attributes)
        if self.most_attributes is not None and len(attributes) > self.most_attributes:
            return None
        if kind is CleanAttributes and self.longest_value is None:
            bounded._dict = attributes
            return bounded
        if kind is not dict:
            return None
        bounded._dict = cleaned(attributes, self.longest_value)
        dropped = len(attributes) - len(bounded._dict)
        if dropped:
            bounded.dropped = dropped
        return bounded

    def root_context(self) -> SpanContext:
        """Return the context of a new span that has no parent."""
        ids = self.ids
        parts = ids.generate_trace_id(), ids.generate_span_id(), False, _SAMPLED_RANDOM, _NO_TRACE_STATE, True
        return _new_tuple(SpanContext, parts)


def _below(parent: Any) -> SpanContext:
    """Return the context of a new span of this parent; its id is made as RandomIdGenerator does."""
    flags = _SAMPLED_RANDOM if parent[3] & 2 else _SAMPLED
    return _new_tuple(SpanContext, (parent[0], getrandbits(64) or 1, False, flags, parent[4], True))


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
    plan = getattr(self, _PLAN, None) or self.__dict__.setdefault(_PLAN, _Plan(self))
    above: Any = (get_current() if context is None else context).get(_SPAN_KEY)
    parent = None if above is None else above._context if hasattr(type(above), "is_lean") else _context_of(above)
    if parent is None:
        is_kept = plan.keeps_roots
    else:
        is_kept = parent[3] & 1 and (plan.keeps_remote if parent[2] else plan.keeps_local)
    is_usual = is_kept and not links and type(kind) is SpanKind and self._tracer_config.is_enabled
    bounded = plan.bounded(attributes) if is_usual else None
    if bounded is None:
        return _official(  # type: ignore[no-any-return]
            self, name, context, kind, attributes, links, start_time, record_exception, set_status_on_exception
        )
    span = _new(plan.span_class)
    span._name = name
    span._context = plan.root_context() if parent is None else _below(parent)
    span._parent = parent
    span._kind = kind
    span._resource = self.resource
    span._attributes = bounded
    span._lock = allocate_lock()
    span._start_time = vars(sdk)["time_ns"]() if start_time is None else start_time
    if not (record_exception and set_status_on_exception):
        span._record_exception, span._set_status_on_exception = record_exception, set_status_on_exception
    for call in plan.processors.starts[kind._value_]:
        call(span, parent_context=context)
    return span  # type: ignore[no-any-return]


def _context_of(above: Any) -> SpanContext | None:
    """Return what a span that is not ours passes on, if it is one and that is valid."""
    if not isinstance(above, trace.Span):
        return None
    parent: SpanContext | None = above.get_span_context()
    return parent if parent is not None and parent.is_valid else None


def _is_like_the_sdk() -> bool:
    """Tell whether a span that is made here has the fields of one that the SDK makes, and ends as it does."""
    tracer = Tracer(
        ParentBased(ALWAYS_ON),
        Resource.get_empty(),
        ListeningProcessors(),
        RandomIdGenerator(),
        cast("Any", None),  # its class is deprecated, and says so
        sdk.SpanLimits(),
        InstrumentationScope(""),
        meter_provider=metrics.NoOpMeterProvider(),
    )
    official, lean = _official(tracer, "", attributes={"a": 1}), start_span(tracer, "", attributes={"a": 1})
    return (
        _is_like(lean, official)
        and _is_like(cast("Any", lean)._attributes, official._attributes)
        and {*sdk.Span.end.__code__.co_names} == _END_NAMES
        and hasattr(BoundedAttributes, "_setitem_locked")
        and SpanContext(1, 2, False, _SAMPLED) == (1, 2, False, _SAMPLED, _NO_TRACE_STATE, True)
    )


def _is_like(lean: Any, official: Any) -> bool:
    """Tell whether the one object has all that the other has, of the same types."""
    return all(issubclass(type(getattr(lean, name)), type(value)) for name, value in vars(official).items())


def install() -> None:
    """Make all tracers start their spans in this way; AttributeError where the SDK's spans are of another kind."""
    if not _is_like_the_sdk():
        raise AttributeError("the SDK's spans have other fields")
    Tracer.start_span = start_span  # type: ignore[method-assign]
