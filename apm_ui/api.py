"""The read-only JSON API beside the pages: the same answers, for tools and tests."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from importlib.metadata import version
from typing import Any

import flask
import orjson
from werkzeug.datastructures import MultiDict

from apm_analysis.red import choose_step_ns, service_red
from apm_analysis.slo.burn_rate import evaluate_all
from apm_analysis.slo.openslo import load_objectives
from apm_analysis.slow_queries import rank_slow_queries
from apm_analysis.trace_tree import build_tree
from apm_store.api import StoreError
from apm_store.query import (
    HOUR_NS,
    EdgeQuery,
    LogQuery,
    MetricSeriesQuery,
    Outcome,
    StoreHealth,
    TimeRange,
    TraceQuery,
)
from apm_ui.answers import (
    CallersAnswer,
    CoverageAnswer,
    FoundTrace,
    HealthAnswer,
    LogAnswer,
    ObjectiveAnswer,
    ServiceAnswer,
    SlosAnswer,
    SpanAnswer,
    TraceAnswer,
)
from apm_ui.edge_answers import EdgeAnswer
from apm_ui.metric_answers import SeriesAnswer
from apm_ui.openapi import Parameter, Route, describe
from apm_ui.pruned import prune_notice
from apm_ui.query_answers import QueryAnswer
from apm_ui.sources import Sources

METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE", "TRACE", "OPTIONS")
MAX_NS = 2**63 - 1
MAX_LOG_RECORDS = 10_000
MAX_STEPS = 2_000
SECOND_NS = 1_000_000_000
_OUTCOMES = {"ok": Outcome.OK, "error": Outcome.FAILED, "4xx": Outcome.CLIENT_ERROR}
_RFC3339 = re.compile(r"(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?([Zz]|[+ -]\d\d:\d\d)", re.ASCII)


class RequestError(Exception):
    """The request cannot be answered; `status` is the HTTP status."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


def parse_time(text: str) -> int:
    """Nanoseconds since 1970 from digits or an RFC 3339 time; raises ValueError with what is accepted."""
    accepted = "nanoseconds since 1970, or an RFC 3339 time such as 2026-01-31T09:00:00Z"
    match = _RFC3339.fullmatch(text)
    if match:
        date, clock, fraction, zone = match.groups()
        zone = "+00:00" if zone in "Zz" else zone.replace(" ", "+")  # an unescaped + arrives as a blank
        try:
            seconds = int(datetime.fromisoformat(f"{date}T{clock}{zone}").timestamp())
        except ValueError as exc:
            raise ValueError(accepted) from exc
        time_ns = seconds * 1_000_000_000 + int((fraction or "0").ljust(9, "0"))
    elif re.fullmatch(r"\d{1,19}", text, re.ASCII):
        time_ns = int(text)
    else:
        raise ValueError(accepted)
    if not 0 <= time_ns <= MAX_NS:
        raise ValueError(accepted)
    return time_ns


def _parse_limit(text: str) -> int:
    if not re.fullmatch(r"\d{1,4}", text, re.ASCII) or not 1 <= int(text) <= 1000:
        raise ValueError("a whole number from 1 to 1000")
    return int(text)


def _parse_step(text: str) -> int:
    if not re.fullmatch(r"\d{1,5}", text, re.ASCII) or not 1 <= int(text) <= 86_400:
        raise ValueError("whole seconds from 1 to 86400")
    return int(text)


def _parse_milliseconds(text: str) -> int:
    if not re.fullmatch(r"\d{1,12}(\.\d{1,6})?", text, re.ASCII):
        raise ValueError("milliseconds as digits, such as 250 or 0.5")
    return round(float(text) * 1e6)


def _parse_attribute(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not key or not equals:
        raise ValueError("key=value, such as http.route=/checkout")
    return key, value


def _choice(*names: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text not in names:
            raise ValueError(" or ".join(names))
        return text

    return parse


_TEXT = {"type": "string"}
_TIME = {"anyOf": [{"type": "integer", "minimum": 0, "maximum": MAX_NS}, {"type": "string", "format": "date-time"}]}
_SERVICE = Parameter("service", "Only this service.", _TEXT, str)
_RANGE = (
    Parameter("start", "Start of the range (inclusive); an hour before its end by default.", _TIME, parse_time),
    Parameter("end", "End of the range (exclusive); now by default.", _TIME, parse_time),
)


def _limit(default: int) -> Parameter:
    schema = {"type": "integer", "minimum": 1, "maximum": 1000}
    return Parameter("limit", "At most so many.", schema, _parse_limit, default)


_TRACE_PARAMETERS = (
    _SERVICE,
    Parameter("operation", "Only spans of this name.", _TEXT, str),
    Parameter("min_duration_ms", "Only spans that took at least so long.", {"type": "number"}, _parse_milliseconds),
    Parameter("status", "Only spans that ended so.", {"enum": list(_OUTCOMES)}, _choice(*_OUTCOMES)),
    Parameter("attr", "Only spans with this attribute, as key=value.", _TEXT, _parse_attribute, max_times=20),
    *_RANGE,
    _limit(100),
    Parameter("order", "Which come first.", {"enum": ["newest", "slowest"]}, _choice("newest", "slowest"), "newest"),
)


_STEP = {"type": "integer", "minimum": 1, "maximum": 86_400}
_METRIC_PARAMETERS = (
    _SERVICE,
    *_RANGE,
    Parameter("step_s", "Seconds of a step; by default one that suits the range.", _STEP, _parse_step),
    _limit(20),
)


@dataclass(frozen=True, slots=True)
class Answer:
    """What stands under "data", and what the coverage beside it says; without `total`, `data` is a whole list."""

    data: Any
    time_range: TimeRange
    total: int | None = None
    is_complete: bool = True


def list_services(sources: Sources, asked: dict[str, Any]) -> Answer:
    """Every service ever seen, with the rate, errors and duration of its requests in the range."""
    time_range = asked["time_range"]
    requests = {red.service: red for red in service_red(sources.store, time_range)}
    services = [ServiceAnswer.of(info, requests.get(info.name)) for info in sources.store.traces.services()]
    return Answer(services, time_range)


def find_traces(sources: Sources, asked: dict[str, Any]) -> Answer:
    """The traces with one span that meets all conditions."""
    question = TraceQuery(
        asked["time_range"],
        service=asked["service"],
        operation=asked["operation"],
        outcome=_OUTCOMES.get(asked["status"]),
        min_duration_ns=asked["min_duration_ms"],
        attributes=tuple(asked["attr"]),
        limit=asked["limit"],
        order=asked["order"],
    )
    page = sources.store.traces.find(question)
    traces = [FoundTrace.of(found) for found in page.traces]
    return Answer(traces, question.time_range, page.total, page.is_complete)


def get_trace(sources: Sources, asked: dict[str, Any]) -> Answer:
    """Every span of a trace with all that is known of it, and its log records."""
    trace_id = asked["trace_id"].lower()
    spans = sources.store.traces.get(trace_id)
    if not spans:
        notice = prune_notice(sources.store.traces.coverage(asked["time_range"]).raw_since_ns)
        known = "Ask /api/v1/traces for those that are."
        raise RequestError(404, f"No trace “{asked['trace_id']}” is stored. {notice} {known}".replace("  ", " "))
    tree = build_tree(spans)
    logs = sources.store.logs.find(LogQuery(trace_id=trace_id, limit=MAX_LOG_RECORDS))
    answer = TraceAnswer(
        trace_id=trace_id,
        start_ns=tree.start_ns,
        duration_ns=tree.duration_ns,
        spans=[SpanAnswer.of(node) for node in tree.nodes],
        logs=[LogAnswer.of(record) for record in logs],
    )
    return Answer(answer, TimeRange(tree.start_ns, tree.start_ns + tree.duration_ns + 1), len(spans))


def list_queries(sources: Sources, asked: dict[str, Any]) -> Answer:
    """Database statements, most total time first."""
    time_range = asked["time_range"]
    ranked = rank_slow_queries(sources.store, time_range, asked["service"])
    queries = list(map(QueryAnswer.of, ranked[: asked["limit"]]))
    return Answer(queries, time_range, len(ranked))


def list_callers(sources: Sources, asked: dict[str, Any]) -> Answer:
    """The entry operations under which a statement ran: read from raw spans, so asked for one by one."""
    found = sources.store.traces.statement_callers(asked["statement_id"], asked["time_range"])
    is_complete = found.sampled >= found.total
    return Answer(CallersAnswer.of(found), asked["time_range"], len(found.callers), is_complete)


def list_edges(sources: Sources, asked: dict[str, Any]) -> Answer:
    """Who calls whom in the range, most calls first: the edges of the service map."""
    edges = sources.store.traces.edges(EdgeQuery(asked["time_range"]))
    return Answer(list(map(EdgeAnswer.of, edges)), asked["time_range"])


def list_metrics(sources: Sources, asked: dict[str, Any]) -> Answer:
    """The names of all metrics, whenever they were recorded."""
    return Answer(sources.store.metrics.names(asked["service"]), asked["time_range"])


def get_metric(sources: Sources, asked: dict[str, Any]) -> Answer:
    """One metric over time, by stream and step; those streams come first that have most points."""
    time_range, step_s = asked["time_range"], asked["step_s"]
    step_ns = step_s * SECOND_NS if step_s else choose_step_ns(time_range)
    if time_range.duration_ns > MAX_STEPS * step_ns:
        least_s = -(-time_range.duration_ns // (MAX_STEPS * SECOND_NS))
        raise RequestError(400, f"step_s is {step_s}; for this range it must be at least {least_s}.")
    query = MetricSeriesQuery(asked["name"], time_range, step_ns, asked["service"], asked["limit"])
    page = sources.store.metrics.series(query)
    series = list(map(SeriesAnswer.of, page.series))
    return Answer(series, time_range, page.total_streams, len(series) >= page.total_streams)


def store_health(sources: Sources, _asked: dict[str, Any]) -> StoreHealth:
    """Counts that add up, lags, sizes, what was pruned and why, and what a person must know."""
    return sources.store.health()


def list_slos(sources: Sources, asked: dict[str, Any]) -> Answer:
    """Every objective with its error budget and burn rates, worst first."""
    found = load_objectives(sources.objectives_dir)
    now_ns = asked["now_ns"]
    statuses = evaluate_all(found.objectives, sources.store, now_ns)
    longest_ns = max((objective.window_ns for objective in found.objectives), default=HOUR_NS)
    answer = SlosAnswer([ObjectiveAnswer.of(status) for status in statuses], found.problems)
    return Answer(answer, TimeRange(now_ns - longest_ns, now_ns), len(statuses))


def health(sources: Sources, _asked: dict[str, Any]) -> HealthAnswer:
    """Whether the store answers."""
    stats = sources.store.stats()
    return HealthAnswer("ok", stats.spans, stats.log_records, stats.data_points)


def openapi(_sources: Sources, _asked: dict[str, Any]) -> dict[str, Any]:
    """This description."""
    return describe(ROUTES, version("spanwise"))


ROUTES = (
    Route("/api/v1/services", "Services and their requests", list[ServiceAnswer], list_services, _RANGE),
    Route("/api/v1/traces", "Search traces", list[FoundTrace], find_traces, _TRACE_PARAMETERS),
    Route("/api/v1/traces/<trace_id>", "One trace in full", TraceAnswer, get_trace),
    Route("/api/v1/queries", "Slow queries", list[QueryAnswer], list_queries, (_SERVICE, *_RANGE, _limit(20))),
    Route("/api/v1/queries/<statement_id>/callers", "Who calls a statement", CallersAnswer, list_callers, _RANGE),
    Route("/api/v1/edges", "The service map: who calls whom", list[EdgeAnswer], list_edges, _RANGE),
    Route("/api/v1/metrics", "Names of metrics", list[str], list_metrics, (_SERVICE,)),
    Route("/api/v1/metrics/<path:name>", "One metric over time", list[SeriesAnswer], get_metric, _METRIC_PARAMETERS),
    Route("/api/v1/slos", "Objectives, error budgets, burn rates", SlosAnswer, list_slos),
    Route("/api/v1/store", "The store's health and prune log", StoreHealth, store_health, is_enveloped=False),
    Route("/healthz", "Whether the store answers", HealthAnswer, health, is_enveloped=False),
    Route("/api/v1/openapi.json", "This description", Mapping[str, Any], openapi, is_enveloped=False),
)


def register_api(server: flask.Flask, sources: Sources, *, clock: Callable[[], int] = time.time_ns) -> None:
    """Add the API to a Flask server. `clock` gives the present in nanoseconds since 1970."""
    for route in ROUTES:
        view = partial(_answer, route, sources, clock)
        server.add_url_rule(route.path, f"api.{route.name}", view, methods=METHODS, provide_automatic_options=False)
    server.add_url_rule("/api/<path:_rest>", "api.unknown", _unknown, methods=METHODS, provide_automatic_options=False)


def _answer(route: Route, sources: Sources, clock: Callable[[], int], **variables: str) -> flask.Response:
    if flask.request.method not in {"GET", "HEAD"}:
        response = _error(405, f"{flask.request.method} is not possible here: the API is read-only. Use GET.")
        response.headers["Allow"] = "GET, HEAD"
        return response
    try:
        asked = read_parameters(flask.request.args, route.parameters, clock()) | variables
        answer = route.handler(sources, asked)
        return _json(200, _envelope(answer, sources) if isinstance(answer, Answer) else answer)
    except RequestError as exc:
        return _error(exc.status, str(exc))
    except StoreError as exc:
        return _error(503, str(exc))


def _envelope(answer: Answer, sources: Sources) -> dict[str, Any]:
    total = len(answer.data) if answer.total is None else answer.total
    coverage = sources.store.traces.coverage(answer.time_range)
    return {"data": answer.data, "coverage": CoverageAnswer.of(coverage, total, is_complete=answer.is_complete)}


def read_parameters(given: MultiDict[str, str], known: Sequence[Parameter], now_ns: int) -> dict[str, Any]:
    """The values of all known parameters (lists where one may be given several times), `now_ns` and `time_range`.

    An empty value counts as not given. Raises RequestError 400 for what is unknown, unreadable or given too often.
    """
    names = {parameter.name for parameter in known}
    for name in given:
        if name not in names:
            raise RequestError(400, f"“{name}” is no parameter here. Known: {', '.join(sorted(names)) or 'none'}.")
    asked = {parameter.name: _read(parameter, given.getlist(parameter.name)) for parameter in known}
    end_ns = now_ns if asked.get("end") is None else asked["end"]
    start_ns = max(0, end_ns - HOUR_NS) if asked.get("start") is None else asked["start"]
    if start_ns >= end_ns:
        raise RequestError(400, f"start is {start_ns} and end is {end_ns}; the range must end after it starts.")
    return asked | {"now_ns": now_ns, "time_range": TimeRange(start_ns, end_ns)}


def _read(parameter: Parameter, texts: list[str]) -> Any:
    texts = [text for text in texts if text]
    if len(texts) > parameter.max_times:
        times = "once" if parameter.max_times == 1 else f"{parameter.max_times} times"
        raise RequestError(400, f"{parameter.name} is given {len(texts)} times; it may stand {times}.")
    values = [_parse(parameter, text) for text in texts]
    if parameter.max_times > 1:
        return values
    return values[0] if values else parameter.default


def _parse(parameter: Parameter, text: str) -> Any:
    try:
        return parameter.parse(text)
    except ValueError as exc:
        raise RequestError(400, f"{parameter.name} is “{text[:200]}”; write {exc}.") from exc


def _unknown(_rest: str) -> flask.Response:
    return _error(404, f"There is nothing at {flask.request.path}. /api/v1/openapi.json lists what there is.")


def _error(status: int, message: str) -> flask.Response:
    return _json(status, {"error": {"message": message}})


def _json(status: int, body: object) -> flask.Response:
    return flask.Response(orjson.dumps(body), status, content_type="application/json")
