"""The JSON API over a real store, through Flask's test client."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import flask
import jsonschema
import pytest
from builders import MS, SECOND, attribute, make_batch, make_request, make_span
from flask.testing import FlaskClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValue, KeyValueList

from apm_store.api import Store, StoreTimeoutError
from apm_store.model import Batch, Signal
from apm_store.query import HOUR_NS, MINUTE_NS
from apm_ui.api import ROUTES, parse_time, register_api
from apm_ui.sources import Sources

NOW_NS = 1_764_000_000_000_000_000
START_NS = NOW_NS - 10 * MINUTE_NS
OBJECTIVE = """
apiVersion: openslo/v1
kind: SLO
metadata: {name: NAME, displayName: Checkout}
spec:
  service: shop
  indicator:
    spec:
      ratioMetric:
        KIND: {metricSource: {type: spanwise, spec: {operation: "POST /checkout", CONDITION}}}
        total: {metricSource: {type: spanwise, spec: {operation: "POST /checkout"}}}
  timeWindow: [{duration: 30d, isRolling: true}]
  budgetingMethod: Occurrences
  objectives: [{target: 0.995}]
"""


@pytest.fixture
def client(store: Store, tmp_path: Path) -> FlaskClient:
    """A client of a server that has the API alone; its clock stands at NOW_NS."""
    server = flask.Flask(__name__)
    objectives = tmp_path / "objectives"
    objectives.mkdir()
    register_api(server, Sources(store, objectives), clock=lambda: NOW_NS)
    return server.test_client()


@pytest.fixture
def filled(store: Store, client: FlaskClient, tmp_path: Path) -> FlaskClient:
    """The client of a store with a failed checkout, its SQL and log record, a 404, an old span, and objectives."""
    query = {"db.system.name": "postgresql", "db.query.text": "SELECT * FROM stock WHERE id = 7"}
    checkout = [
        make_span("POST /checkout", trace=1, span=1, start_ns=START_NS, duration_ns=900 * MS, failed=True),
        make_span("SELECT stock", trace=1, span=2, parent=1, start_ns=START_NS, kind=3, attributes=query),
    ]
    checkout[0].attributes.extend(_strange_attributes())
    checkout[0].events.add(time_unix_nano=START_NS, name="exception").attributes.append(attribute("n", 1))
    checkout[0].links.add(trace_id=b"\1" * 16, span_id=b"\2" * 8, trace_state="a=b", flags=1)
    store.traces.write(make_batch(checkout))
    missing = {"http.response.status_code": 404, "http.route": "/a=b"}
    store.traces.write(make_batch([make_span("GET /", trace=2, start_ns=START_NS + SECOND, attributes=missing)], "web"))
    store.traces.write(make_batch([make_span("tick", trace=3, start_ns=NOW_NS - 5 * HOUR_NS)], "old"))
    store.logs.write(_log_batch())
    store.metrics.write(_metric_batch())
    failed = OBJECTIVE.replace("NAME", "works").replace("KIND", "bad").replace("CONDITION", "outcome: failed")
    fast = OBJECTIVE.replace("NAME", "fast").replace("KIND", "good").replace("CONDITION", "max_duration: 1s")
    (tmp_path / "objectives" / "slo.yaml").write_text(f"{failed}\n---\n{fast}\n---\nkind: Nonsense\n", encoding="utf-8")
    return client


def _strange_attributes() -> Iterator[KeyValue]:
    yield KeyValue(key="nan", value=AnyValue(double_value=float("nan")))
    yield KeyValue(key="inf", value=AnyValue(double_value=float("inf")))
    yield KeyValue(key="-inf", value=AnyValue(double_value=float("-inf")))
    yield KeyValue(key="big", value=AnyValue(int_value=2**63 - 1))
    yield KeyValue(key="small", value=AnyValue(int_value=-(2**63)))
    yield KeyValue(key="bytes", value=AnyValue(bytes_value=b"\xff\x00"))
    nested = [AnyValue(bytes_value=b"a"), AnyValue(double_value=float("nan")), AnyValue(bool_value=True), AnyValue()]
    yield KeyValue(key="list", value=AnyValue(array_value=ArrayValue(values=nested)))
    pairs = KeyValueList(values=[KeyValue(key="k", value=AnyValue(bytes_value=b"b"))])
    yield KeyValue(key="map", value=AnyValue(kvlist_value=pairs))


def _log_batch() -> Batch:
    request = ExportLogsServiceRequest()
    group = request.resource_logs.add()
    group.resource.attributes.append(attribute("service.name", "shop"))
    record = group.scope_logs.add().log_records.add(time_unix_nano=START_NS, severity_number=17, severity_text="ERROR")
    record.trace_id, record.span_id = (1).to_bytes(16, "big"), (1).to_bytes(8, "big")
    record.body.double_value = float("nan")
    return Batch(Signal.LOGS, request, request.SerializeToString(), 1)


def _metric_batch() -> Batch:
    """Two streams of a gauge whose name has a slash: three points over two minutes, and one that is infinite."""
    request = ExportMetricsServiceRequest()
    group = request.resource_metrics.add()
    group.resource.attributes.append(attribute("service.name", "shop"))
    metric = group.scope_metrics.add().metrics.add(name="queue/depth", unit="{item}")
    start_ns = START_NS // MINUTE_NS * MINUTE_NS
    for offset_ns, value, queue in ((0, 1, "a"), (SECOND, 4, "a"), (MINUTE_NS, 9, "a"), (0, float("inf"), "b")):
        point = metric.gauge.data_points.add(time_unix_nano=start_ns + offset_ns, as_double=value)
        point.attributes.append(attribute("queue", queue))
    return Batch(Signal.METRICS, request, request.SerializeToString(), 4)


def get(client: FlaskClient, path: str, **parameters: Any) -> Any:
    answer = client.get(path, query_string=parameters)
    assert answer.status_code == 200, answer.text
    assert answer.content_type == "application/json"
    return json.loads(answer.text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))


def trace_ids(client: FlaskClient, **parameters: Any) -> list[int]:
    return [int(trace["trace_id"], 16) for trace in get(client, "/api/v1/traces", **parameters)["data"]]


def test_services_have_their_requests(filled: FlaskClient) -> None:
    """Every service ever seen is listed; one that is silent in the range has 0 requests and no percentiles."""
    answer = get(filled, "/api/v1/services")

    services = {row["service"]: row for row in answer["data"]}
    assert {name: row["count"] for name, row in services.items()} == {"shop": 1, "web": 1, "old": 0}
    assert (services["shop"]["failed_count"], services["web"]["client_error_count"]) == (1, 1)
    assert (services["old"]["p95_ns"], services["old"]["last_seen_ns"]) == (None, NOW_NS - 5 * HOUR_NS)
    assert answer["coverage"] == {
        "start_ns": NOW_NS - HOUR_NS,
        "end_ns": NOW_NS,
        "first_ns": NOW_NS - 5 * HOUR_NS,
        "last_ns": answer["coverage"]["last_ns"],
        "measured_minutes": 1,
        "expected_minutes": 60,
        "raw_since_ns": None,
        "total": 3,
        "is_complete": True,
        "notice": "",
    }


def test_traces_are_found_by_each_parameter(filled: FlaskClient) -> None:
    """Each condition leaves the traces that meet it."""
    assert trace_ids(filled) == [2, 1]
    assert trace_ids(filled, order="slowest") == [1, 2]
    assert trace_ids(filled, limit=1) == [2]
    assert trace_ids(filled, service="shop") == [1]
    assert trace_ids(filled, operation="SELECT stock") == [1]
    assert trace_ids(filled, min_duration_ms="899.5") == [1]
    assert trace_ids(filled, status="error") == [1]
    assert trace_ids(filled, status="4xx") == [2]
    assert trace_ids(filled, status="ok") == []
    assert trace_ids(filled, attr="http.route=/a=b") == [2]
    assert trace_ids(filled, attr=["http.route=/a=b", "http.response.status_code=404"]) == [2]
    assert trace_ids(filled, attr=["http.route=/a=b", "http.response.status_code=500"]) == []
    assert trace_ids(filled, start=NOW_NS - 6 * HOUR_NS, end="2025-11-24T11:30:00Z") == [3]
    assert trace_ids(filled, end=START_NS + 1) == [1]


def test_empty_values_count_as_not_given(filled: FlaskClient) -> None:
    """A form's empty fields are no conditions."""
    names = ("service", "operation", "min_duration_ms", "status", "attr", "start", "end", "limit", "order")

    assert trace_ids(filled, **dict.fromkeys(names, "")) == [2, 1]


def test_a_found_trace_is_measured(filled: FlaskClient) -> None:
    """It says where it began, how long it took, what is in it, and how many there are."""
    answer = get(filled, "/api/v1/traces", service="shop", limit=1)

    (trace,) = answer["data"]
    assert (trace["service"], trace["operation"], trace["services"]) == ("shop", "POST /checkout", ["shop"])
    assert (trace["start_ns"], trace["duration_ns"]) == (START_NS, 900 * MS)
    assert (trace["span_count"], trace["error_count"], trace["matched"]["is_error"]) == (2, 1, True)
    assert (answer["coverage"]["total"], answer["coverage"]["is_complete"]) == (1, True)


def test_a_trace_is_given_in_full(filled: FlaskClient) -> None:
    """Every span with its place, events, links and attributes; every log record."""
    trace = get(filled, f"/api/v1/traces/{1:032X}")["data"]

    root, child = trace["spans"]
    assert (root["kind"], root["status"], root["depth"], root["self_time_ns"]) == ("server", "error", 0, 890 * MS)
    assert (child["name"], child["depth"], child["parent_span_id"]) == ("SELECT stock", 1, root["span_id"])
    assert root["resource"] == {"service.name": "shop"}
    assert (root["events"][0]["name"], root["events"][0]["attributes"]) == ("exception", {"n": 1})
    assert (root["links"][0]["trace_id"], root["links"][0]["flags"]) == ("01" * 16, 1)
    assert [(log["severity_text"], log["body"], log["span_id"]) for log in trace["logs"]] == [
        ("ERROR", "NaN", root["span_id"])
    ]


def test_strange_attributes_are_valid_json(filled: FlaskClient) -> None:
    """Numbers that JSON lacks are text, bytes are base64, 64-bit integers stay numbers."""
    attributes = get(filled, f"/api/v1/traces/{1:032x}")["data"]["spans"][0]["attributes"]

    assert attributes == {
        "nan": "NaN",
        "inf": "Infinity",
        "-inf": "-Infinity",
        "big": 2**63 - 1,
        "small": -(2**63),
        "bytes": {"bytes": "/wA="},
        "list": [{"bytes": "YQ=="}, "NaN", True, None],
        "map": {"k": {"bytes": "Yg=="}},
    }


def test_an_unknown_kind_is_given_as_its_number(store: Store, client: FlaskClient) -> None:
    """A kind of a later OTLP version is not hidden."""
    request = make_request([make_span("x", trace=9, start_ns=START_NS)])
    request.resource_spans[0].scope_spans[0].spans[0].kind = 77  # type: ignore[assignment]
    store.traces.write(Batch(Signal.TRACES, request, request.SerializeToString(), 1))

    (span,) = get(client, f"/api/v1/traces/{9:032x}")["data"]["spans"]

    assert (span["kind"], span["status"]) == ("77", "unset")


def test_queries_have_their_callers(filled: FlaskClient) -> None:
    """A statement's id leads to who calls it, and the coverage says how many statements there are."""
    answer = get(filled, "/api/v1/queries", limit=5)

    (found,) = answer["data"]
    callers = get(filled, f"/api/v1/queries/{found['statement_id']}/callers")
    assert (found["system"], found["count"], found["share_of_total"]) == ("postgresql", 1, 1)
    assert callers["data"] == {
        "callers": [{"service": "shop", "operation": "POST /checkout", "calls": 1}],
        "sampled_calls": 1,
        "total_calls": 1,
    }
    assert (callers["coverage"]["total"], callers["coverage"]["is_complete"]) == (1, True)
    assert get(filled, "/api/v1/queries/unknown/callers")["data"]["callers"] == []
    assert answer["coverage"]["total"] == 1
    assert get(filled, "/api/v1/queries", service="web")["data"] == []


def test_slos_have_budgets_and_problems(filled: FlaskClient) -> None:
    """Objectives come worst first, with the sentence for what could not be read."""
    data = get(filled, "/api/v1/slos")["data"]

    works, fast = sorted(data["objectives"], key=lambda row: row["kind"])
    assert (works["name"], works["kind"], works["threshold_ns"]) == ("works", "availability", None)
    assert (fast["name"], fast["kind"], fast["threshold_ns"]) == ("fast", "latency", SECOND)
    assert (works["state"], works["total"], works["bad"]) == ("critical", 1, 1)
    assert works["windows"][-1]["burn"] == pytest.approx(200)
    assert len(works["rules"]) == 4
    assert data["problems"] == ["slo.yaml, document 3: apiVersion is missing; write openslo/v1 or openslo.com/v1."]


def test_an_empty_store_has_empty_answers(client: FlaskClient) -> None:
    """Nothing stored is no error."""
    for path in ("services", "traces", "queries", "edges", "metrics", "metrics/x"):
        assert get(client, f"/api/v1/{path}")["data"] == []
    assert get(client, "/api/v1/slos")["data"] == {"objectives": [], "problems": []}


def test_health_says_that_the_store_answers(filled: FlaskClient) -> None:
    """The health check stands without an envelope."""
    assert get(filled, "/healthz") == {"status": "ok", "spans": 4, "log_records": 1, "data_points": 4}


def test_the_service_map_has_calls_and_durations(filled: FlaskClient) -> None:
    """A database that a service calls is a virtual node; both sides' durations are told apart."""
    answer = get(filled, "/api/v1/edges")

    edges = {(row["source"], row["kind"]): row for row in answer["data"]}
    sql = edges["shop", "database"]
    assert (sql["count"], sql["failed_count"], sql["is_virtual_target"]) == (1, 0, True)
    assert sql["client_durations"]["p50_ns"] == pytest.approx(10 * MS, rel=0.01)
    assert sql["server_durations"] == {"count": 0, "p50_ns": None, "p95_ns": None, "p99_ns": None}
    assert edges["user", "http"]["is_virtual_source"]
    assert answer["coverage"]["total"] == len(answer["data"])


def test_metrics_have_names(filled: FlaskClient) -> None:
    """All of them, or those of one service."""
    assert get(filled, "/api/v1/metrics")["data"] == ["queue/depth"]
    assert get(filled, "/api/v1/metrics", service="web")["data"] == []


def test_a_metric_is_given_over_time(filled: FlaskClient) -> None:
    """Streams apart, points summed up by step; what is no number in JSON is null."""
    answer = get(filled, "/api/v1/metrics/queue/depth", step_s=60)

    first, second = sorted(answer["data"], key=lambda row: row["attributes"]["queue"])
    assert (first["type"], first["unit"], first["temporality"], first["service"]) == ("gauge", "{item}", "", "shop")
    assert [(step["start_ns"], step["point_count"], step["max"]) for step in first["steps"]] == [
        (START_NS // MINUTE_NS * MINUTE_NS, 2, 4.0),
        (START_NS // MINUTE_NS * MINUTE_NS + MINUTE_NS, 1, 9.0),
    ]
    assert [step["last"] for step in second["steps"]] == [None]
    assert (answer["coverage"]["total"], answer["coverage"]["is_complete"]) == (2, True)
    one = get(filled, "/api/v1/metrics/queue/depth", limit=1)
    assert (len(one["data"]), one["coverage"]["total"], one["coverage"]["is_complete"]) == (1, 2, False)
    assert get(filled, "/api/v1/metrics/nothing")["data"] == []


def test_the_store_tells_of_itself(filled: FlaskClient) -> None:
    """Counts that add up, and the prune log."""
    health = get(filled, "/api/v1/store")

    assert health["accepted"]["traces"] == 4
    assert sum(health[outcome]["traces"] for outcome in ("stored", "duplicates", "waiting")) == 4
    assert (health["prunes"], health["notices"], health["raw_since_ns"]) == ([], [], None)


def test_what_was_pruned_is_said(store: Store, filled: FlaskClient) -> None:
    """After a prune the coverage has its time, a sentence stands beside the answers, and numbers stay."""
    before = get(filled, "/api/v1/services")["data"]

    store.prune(before_ns=2**62)

    answer = get(filled, "/api/v1/services")
    coverage = answer["coverage"]
    assert [row["count"] for row in answer["data"]] == [row["count"] for row in before]
    assert coverage["raw_since_ns"] > START_NS
    assert coverage["notice"].endswith("was pruned; counts and durations stay.")
    assert len(get(filled, "/api/v1/store")["prunes"]) == 1
    missing = filled.get(f"/api/v1/traces/{3:032x}")
    assert missing.status_code == 404
    assert "was pruned" in json.loads(missing.text)["error"]["message"]


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.name)
@pytest.mark.parametrize("which", ["client", "filled"])
def test_answers_meet_their_schemas(request: pytest.FixtureRequest, which: str, route: Any) -> None:
    """What is served is what the OpenAPI document says, on an empty and on a filled store."""
    client = request.getfixturevalue(which)
    document = get(client, "/api/v1/openapi.json")
    path = re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", route.path)
    answers = document["paths"][path]["get"]["responses"]

    answer = client.get(path.format(trace_id=f"{1:032x}", name="queue/depth", statement_id="unknown"))

    described = answers["200" if answer.status_code == 200 else "default"]["content"]["application/json"]["schema"]
    schema = {**described, "components": document["components"]}
    jsonschema.validate(json.loads(answer.text), schema, cls=jsonschema.Draft202012Validator)
    assert answer.status_code == (404 if which == "client" and "trace_id" in route.path else 200)


@pytest.mark.parametrize(
    ("path", "query", "says"),
    [
        ("traces", "colour=red", "“colour” is no parameter here. Known: attr, end, limit,"),
        ("slos", "service=x", "“service” is no parameter here. Known: none."),
        ("services", "limit=5", "“limit” is no parameter here. Known: end, start."),
        ("traces", "limit=0", "limit is “0”; write a whole number from 1 to 1000."),
        ("traces", "limit=1001", "limit is “1001”"),
        ("traces", "limit=-1", "limit is “-1”"),
        ("traces", "limit=1e2", "limit is “1e2”"),
        ("traces", "limit=٣", "limit is “٣”"),
        ("queries", "limit=ten", "limit is “ten”"),
        ("traces", "limit=1&limit=2", "limit is given 2 times; it may stand once."),
        ("traces", "&".join(["attr=a=b"] * 21), "attr is given 21 times; it may stand 20 times."),
        ("traces", "attr=plain", "attr is “plain”; write key=value, such as http.route=/checkout."),
        ("traces", "attr==v", "attr is “=v”"),
        ("traces", "status=bad", "status is “bad”; write ok or error or 4xx."),
        ("traces", "order=best", "order is “best”; write newest or slowest."),
        ("traces", "min_duration_ms=2s", "min_duration_ms is “2s”; write milliseconds as digits, such as 250 or 0.5."),
        ("traces", "min_duration_ms=nan", "min_duration_ms is “nan”"),
        ("traces", "min_duration_ms=-1", "min_duration_ms is “-1”"),
        ("traces", "min_duration_ms=1e400", "min_duration_ms is “1e400”"),
        ("traces", "start=yesterday", "start is “yesterday”; write nanoseconds since 1970, or an RFC 3339 time"),
        ("traces", "start=-5", "start is “-5”"),
        ("traces", "end=9223372036854775808", "end is “9223372036854775808”"),
        ("traces", "end=99999999999999999999", "end is “99999999999999999999”"),
        ("traces", "end=2026-13-01T00:00:00Z", "end is “2026-13-01T00:00:00Z”"),
        ("traces", "end=2026-02-01T00:00:00", "end is “2026-02-01T00:00:00”"),
        ("traces", "end=1600-02-01T00:00:00Z", "end is “1600-02-01T00:00:00Z”"),
        ("traces", "end=9999-02-01T00:00:00Z", "end is “9999-02-01T00:00:00Z”"),
        ("traces", "end=0001-01-01T00:00:00%2B23:59", "end is “0001-01-01T00:00:00+23:59”"),
        ("metrics/x", "step_s=0", "step_s is “0”; write whole seconds from 1 to 86400."),
        ("metrics/x", "step_s=1.5", "step_s is “1.5”"),
        ("metrics/x", "step_s=1", "step_s is 1; for this range it must be at least 2."),
        ("services", "start=5&end=5", "start is 5 and end is 5; the range must end after it starts."),
        ("services", f"start={NOW_NS}", "the range must end after it starts."),
    ],
)
def test_garbage_parameters_are_named(client: FlaskClient, path: str, query: str, says: str) -> None:
    """What cannot be understood is a 400 that says what is accepted."""
    answer = client.get(f"/api/v1/{path}?{query}")

    assert answer.status_code == 400
    assert says in json.loads(answer.text)["error"]["message"]


@pytest.mark.parametrize(
    ("text", "time_ns"),
    [
        ("0", 0),
        ("1764000000000000001", 1764000000000000001),
        ("2025-11-24T16:00:00Z", NOW_NS),
        ("2025-11-24t17:00:00.000000001+01:00", NOW_NS + 1),
        ("2025-11-24 15:00:00.5 -01:00".replace(" -", "-"), NOW_NS + 500 * MS),
        ("2025-11-24T17:00:00 01:00", NOW_NS),
    ],
)
def test_times_are_nanoseconds_or_rfc_3339(text: str, time_ns: int) -> None:
    """Both keep the nanosecond; a blank zone sign is the + that nobody escaped."""
    assert parse_time(text) == time_ns


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
@pytest.mark.parametrize("path", ["/api/v1/services", f"/api/v1/traces/{1:032x}", "/healthz"])
def test_the_api_is_read_only(client: FlaskClient, method: str, path: str) -> None:
    """Every other method is a 405 in JSON that names those allowed."""
    answer = client.open(path, method=method)

    assert answer.status_code == 405
    assert answer.headers["Allow"] == "GET, HEAD"
    assert "Use GET" in json.loads(answer.text)["error"]["message"]


def test_head_has_no_body(client: FlaskClient) -> None:
    """HEAD is GET without its body."""
    answer = client.head("/api/v1/services")

    assert (answer.status_code, answer.data) == (200, b"")


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("/api/v1/nothing", "/api/v1/openapi.json lists"),
        ("/api/v2", "/api/v1/openapi.json lists"),
        ("/api/v1/services/", "/api/v1/openapi.json lists"),
        (f"/api/v1/traces/{5:032x}", f"No trace “{5:032x}” is stored"),
        ("/api/v1/traces/not-hex", "No trace “not-hex” is stored"),
    ],
)
def test_what_is_not_there_is_a_404(client: FlaskClient, path: str, says: str) -> None:
    """Unknown addresses and unknown traces are said so in JSON."""
    answer = client.get(path)

    assert answer.status_code == 404
    assert says in json.loads(answer.text)["error"]["message"]


@pytest.mark.parametrize("path", ["/api/v1/services", "/healthz", f"/api/v1/traces/{1:032x}"])
def test_a_store_that_cannot_answer_is_a_503(store: Store, client: FlaskClient, path: str) -> None:
    """The message is the store's own."""
    store.close()

    answer = client.get(path)

    assert answer.status_code == 503
    assert json.loads(answer.text)["error"]["message"] == "The store is closed."


def test_an_error_of_the_store_speaks_for_people() -> None:
    """Every error of the store has a message even when it is raised without one."""
    assert str(StoreTimeoutError()) == "The store did not answer in time."


PARAMETERS = ("service", "operation", "min_duration_ms", "status", "attr", "start", "end", "limit", "order")


def _is_clear(answer: Any) -> bool:
    body = json.loads(answer.text)
    return answer.status_code == 200 or (answer.status_code in (400, 404) and bool(body["error"]["message"]))


def test_naughty_strings_get_clear_answers(filled: FlaskClient, fixtures: Path) -> None:
    """No string of the big list of naughty strings breaks an address or a parameter."""
    strings = json.loads((fixtures / "21-naughty-strings" / "blns.json").read_text(encoding="utf-8"))

    for text in strings:
        texts = {"service": text, "operation": text, "attr": f"{text}={text}"}
        assert _is_clear(filled.get("/api/v1/traces", query_string=texts)), text
        for name in ("min_duration_ms", "status", "attr", "start", "end", "limit", "order"):
            assert _is_clear(filled.get("/api/v1/traces", query_string={name: text})), (name, text)
        assert _is_clear(filled.get("/api/v1/services", query_string={text: text})), text


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.sampled_from([*PARAMETERS, "x"]), st.text(max_size=30)), max_size=5), st.text(max_size=40))
def test_any_parameters_get_clear_answers(filled: FlaskClient, pairs: list[tuple[str, str]], trace_id: str) -> None:
    """Random parameters and trace ids are answered with 200, 400 or 404."""
    encoded = flask.Flask(__name__).test_request_context(query_string=_encodable(pairs)).request.query_string

    assert _is_clear(filled.get("/api/v1/traces?" + encoded.decode()))
    clean = "".join(character for character in trace_id if character.isprintable() and character not in "/?#%.\\")
    if clean.strip():
        assert _is_clear(filled.get("/api/v1/traces/" + clean))


def _encodable(pairs: list[tuple[str, str]]) -> dict[str, list[str]]:
    made: dict[str, list[str]] = {}
    for name, value in pairs:
        made.setdefault(name, []).append(value.encode("utf-8", "replace").decode())
    return made
