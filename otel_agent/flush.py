"""Send what is still waiting, for processes that end without running their exit handlers."""

import _thread

from opentelemetry import _logs, metrics, trace

from otel_agent.guard import guard

# Within the two seconds that the end of a host may take longer.
_LIMIT_S = 0.9


def flush() -> None:
    """Send all spans, log records and metrics that wait, in at most 0.9 s; callable from a signal handler.

    The work is done by a bare thread: the main thread may have been interrupted while it held a lock that exporting, or
    starting a threading.Thread, needs.
    """
    done = _thread.allocate_lock()
    done.acquire()

    def send() -> None:
        try:
            for provider in (trace.get_tracer_provider(), _logs.get_logger_provider(), metrics.get_meter_provider()):
                with guard("send what is left"):
                    force_flush = getattr(provider, "force_flush", None)  # the SDK's have it
                    if force_flush is not None:
                        force_flush(int(_LIMIT_S * 1000))
        finally:
            done.release()

    with guard("send what is left"):
        _thread.start_new_thread(send, ())
        done.acquire(timeout=_LIMIT_S)
