"""The log records that enrichments send."""

import time
from collections.abc import Mapping

from opentelemetry import trace
from opentelemetry._logs import SeverityNumber, get_logger
from opentelemetry.context import Context
from opentelemetry.trace import Span
from opentelemetry.util.types import AnyValue


def send(
    name: str,
    event_name: str,
    span: Span | None,
    attributes: Mapping[str, AnyValue],
    body: AnyValue = None,
    severity: SeverityNumber = SeverityNumber.INFO,
) -> None:
    """Send a log record of the enrichment `name`, in the span's trace if there is one."""
    get_logger(f"spanwise.{name}").emit(
        timestamp=time.time_ns(),
        context=trace.set_span_in_context(span or trace.INVALID_SPAN, Context()),
        severity_number=severity,
        body=body,
        attributes=dict(attributes),
        event_name=event_name,
    )
