"""OpenSLO files: the accepted shape, and a clear sentence for everything else."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import yaml

from apm_analysis.slo.objective import Availability, Latency
from apm_analysis.slo.openslo import load_objectives

DAY_NS = 86_400_000_000_000


def document() -> dict[str, Any]:
    source = {"metricSource": {"type": "spanwise", "spec": {"operation": "POST /checkout"}}}
    bad = {"metricSource": {"type": "spanwise", "spec": {"operation": "POST /checkout", "outcome": "failed"}}}
    return {
        "apiVersion": "openslo/v1",
        "kind": "SLO",
        "metadata": {"name": "checkout-succeeds", "displayName": "Checkout succeeds"},
        "spec": {
            "description": "A checkout ends without a failure.",
            "service": "storefront",
            "indicator": {
                "metadata": {"name": "checkout-succeeds"},
                "spec": {"ratioMetric": {"counter": True, "bad": bad, "total": source}},
            },
            "timeWindow": [{"duration": "30d", "isRolling": True}],
            "budgetingMethod": "Occurrences",
            "objectives": [{"displayName": "99.5 %", "target": 0.995}],
        },
    }


def changed(path: str, value: Any) -> dict[str, Any]:
    """The document with the value at a dotted path replaced, or removed where it is Ellipsis."""
    made = document()
    at: Any = made
    *keys, last = [int(key) if key.isdigit() else key for key in path.split("/")]
    for key in keys:
        at = at[key]
    if value is ...:
        del at[last]
    else:
        at[last] = value
    return made


def write(directory: Path, *documents: Any, name: str = "slo.yaml") -> None:
    (directory / name).write_text(yaml.safe_dump_all(documents), encoding="utf-8")


def test_a_failure_ratio_is_an_availability_objective(tmp_path: Path) -> None:
    """Names, target, window and indicator come from their keys."""
    write(tmp_path, document())

    (objective,) = load_objectives(tmp_path).objectives

    assert (objective.name, objective.display_name) == ("checkout-succeeds", "Checkout succeeds")
    assert objective.description == "A checkout ends without a failure."
    assert (objective.service, objective.target, objective.window_ns) == ("storefront", 0.995, 30 * DAY_NS)
    assert objective.indicator == Availability("storefront", "POST /checkout")


@pytest.mark.parametrize(("text", "ns"), [("600ms", 600_000_000), ("1.5 s", 1_500_000_000), ("250us", 250_000)])
def test_a_good_duration_ratio_is_a_latency_objective(tmp_path: Path, text: str, ns: int) -> None:
    """`good` with a largest duration makes a latency objective with that threshold."""
    made = document()
    ratio = made["spec"]["indicator"]["spec"]["ratioMetric"]
    del ratio["bad"]
    ratio["good"] = {
        "metricSource": {"type": "spanwise", "spec": {"operation": "POST /checkout", "max_duration": text}}
    }
    write(tmp_path, made)

    found = load_objectives(tmp_path)

    assert found.problems == ()
    assert found.objectives[0].indicator == Latency("storefront", "POST /checkout", ns)


def test_without_an_operation_the_whole_service_counts(tmp_path: Path) -> None:
    """The operation may be left out of both sides, and the source's spec with it."""
    made = document()
    ratio = made["spec"]["indicator"]["spec"]["ratioMetric"]
    del ratio["bad"]["metricSource"]["spec"]["operation"]
    del ratio["total"]["metricSource"]["spec"]
    write(tmp_path, made)

    assert load_objectives(tmp_path).objectives[0].indicator == Availability("storefront", None)


@pytest.mark.parametrize(
    ("path", "value", "attribute", "expected"),
    [
        ("apiVersion", "openslo.com/v1", "name", "checkout-succeeds"),
        ("metadata/displayName", ..., "display_name", "checkout-succeeds"),
        ("metadata/labels", {"team": "shop"}, "name", "checkout-succeeds"),
        ("spec/description", ..., "description", "checkout-succeeds"),
        ("spec/timeWindow/0/duration", "4w", "window_ns", 28 * DAY_NS),
        ("spec/timeWindow/0/duration", "72h", "window_ns", 3 * DAY_NS),
        ("spec/objectives/0", {"targetPercent": 99.5}, "target", 0.995),
        ("spec/indicator/spec/ratioMetric/counter", ..., "name", "checkout-succeeds"),
    ],
)
def test_other_spellings_are_accepted(tmp_path: Path, path: str, value: Any, attribute: str, expected: Any) -> None:
    """Both API versions, percent targets, other window units and absent texts are understood."""
    write(tmp_path, changed(path, value))

    found = load_objectives(tmp_path)

    assert found.problems == ()
    assert getattr(found.objectives[0], attribute) == expected


RATIO = "spec/indicator/spec/ratioMetric"


@pytest.mark.parametrize(
    ("path", "value", "says"),
    [
        ("apiVersion", "openslo/v2", "apiVersion is 'openslo/v2'; write openslo/v1 or openslo.com/v1."),
        ("apiVersion", ..., "apiVersion is missing"),
        ("kind", "SLI", "kind is 'SLI'; write SLO."),
        ("extra", 1, "extra is not supported; known here: apiVersion, kind, metadata, spec."),
        ("metadata", ..., "metadata is missing."),
        ("metadata/name", 7, "metadata.name is 7; write a text."),
        ("metadata/name", " ", "metadata.name is ' '; write a text."),
        ("spec", [], "spec is no mapping."),
        ("spec/service", ..., "spec.service is missing"),
        ("spec/alertPolicies", [], "spec.alertPolicies is not supported"),
        ("spec/indicatorRef", "x", "spec.indicatorRef is not supported"),
        ("spec/budgetingMethod", "Timeslices", "spec.budgetingMethod is 'Timeslices'; write Occurrences."),
        ("spec/timeWindow", [], "spec.timeWindow must be a list of exactly one."),
        ("spec/timeWindow/0/isRolling", False, "calendar windows are not supported"),
        ("spec/timeWindow/0/duration", "1M", "spec.timeWindow[0].duration is '1M'; write a duration such as 30d"),
        ("spec/timeWindow/0/duration", 30, "spec.timeWindow[0].duration is 30; write a duration such as 30d"),
        ("spec/timeWindow/0/duration", "1h", "write a duration from 1d to 90d"),
        ("spec/timeWindow/0/duration", "91d", "write a duration from 1d to 90d"),
        ("spec/timeWindow/0/calendar", {}, "spec.timeWindow[0].calendar is not supported"),
        ("spec/objectives", [{}, {}], "spec.objectives must be a list of exactly one."),
        ("spec/objectives/0", {}, "spec.objectives[0] needs either target (0.995) or targetPercent (99.5)."),
        ("spec/objectives/0/targetPercent", 99, "needs either target"),
        ("spec/objectives/0/target", 1, "spec.objectives[0].target is 1; write a number above 0 and below 1."),
        ("spec/objectives/0/target", 99.5, "write a number above 0 and below 1."),
        ("spec/objectives/0/target", True, "write a number above 0 and below 1."),
        ("spec/objectives/0/target", float("nan"), "write a number above 0 and below 1."),
        ("spec/objectives/0", {"targetPercent": 100}, "targetPercent is 100; write a number above 0 and below 100."),
        ("spec/objectives/0/timeSliceTarget", 0.9, "spec.objectives[0].timeSliceTarget is not supported"),
        ("spec/indicator/spec/thresholdMetric", {}, "spec.indicator.spec.thresholdMetric is not supported"),
        (f"{RATIO}/counter", False, "counter must be true: gauges are not supported."),
        (f"{RATIO}/raw", {}, "spec.indicator.spec.ratioMetric.raw is not supported"),
        (f"{RATIO}/bad", ..., "needs total, and either bad (outcome: failed) or good (max_duration: 600ms)."),
        (f"{RATIO}/good", {}, "and either bad"),
        (f"{RATIO}/total", ..., "spec.indicator.spec.ratioMetric.total is missing."),
        (f"{RATIO}/total/metricSource/type", "prometheus", "metricSource.type is 'prometheus'; write spanwise."),
        (f"{RATIO}/total/metricSource/spec/query", "up", "metricSource.spec.query is not supported"),
        (f"{RATIO}/total/metricSource/spec/operation", "GET /", "both must be the same"),
        (f"{RATIO}/bad/metricSource/spec/operation", 5, "metricSource.spec.operation is 5; write a text."),
        (f"{RATIO}/bad/metricSource/spec/outcome", "4xx", "metricSource.spec.outcome is '4xx'; write failed."),
        (f"{RATIO}/bad/metricSource/spec/max_duration", "1s", "max_duration is not supported"),
    ],
)
def test_what_is_not_understood_is_refused_by_its_key(tmp_path: Path, path: str, value: Any, says: str) -> None:
    """Nothing is ignored: the sentence names the file, the key and what would be right."""
    write(tmp_path, changed(path, value))

    found = load_objectives(tmp_path)

    assert found.objectives == ()
    assert len(found.problems) == 1
    assert found.problems[0].startswith("slo.yaml: ")
    assert says in found.problems[0]


@pytest.mark.parametrize("threshold", ["600", "0ms", "1h", 600, None])
def test_a_threshold_is_a_duration(tmp_path: Path, threshold: object) -> None:
    """A threshold without a unit, of nothing, or of hours is refused."""
    made = document()
    ratio = made["spec"]["indicator"]["spec"]["ratioMetric"]
    source = {"operation": "POST /checkout", "max_duration": threshold}
    ratio["good"] = {"metricSource": {"type": "spanwise", "spec": source}}
    del ratio["bad"]
    write(tmp_path, made)

    (problem,) = load_objectives(tmp_path).problems

    assert "good.metricSource.spec.max_duration" in problem
    assert "write a duration such as 600ms (us, ms, s, m)." in problem


def test_one_broken_file_does_not_hide_the_others(tmp_path: Path) -> None:
    """Each document stands for itself, and each problem says where it is."""
    write(tmp_path, changed("metadata/name", "first"), None, changed("kind", "Service"), name="a.yaml")
    (tmp_path / "b.yml").write_text("a: [1,\nb: }", encoding="utf-8")
    (tmp_path / "c.yaml").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "d.yaml").mkdir()
    (tmp_path / "f.yaml").write_text("- 1", encoding="utf-8")
    (tmp_path / "g.txt").write_text("not an objective", encoding="utf-8")
    write(tmp_path, changed("metadata/name", "last"), name="z.yaml")

    found = load_objectives(tmp_path)

    assert [objective.name for objective in found.objectives] == ["first", "last"]
    assert [problem.partition(":")[0] for problem in found.problems] == [
        "a.yaml, document 3",
        "b.yml",
        "c.yaml",
        "d.yaml",
        "f.yaml",
    ]
    assert "this is not YAML: " in found.problems[1]
    assert "in line 2" in found.problems[1]
    assert "cannot be read (Is a directory)" in found.problems[3]
    assert "the document is no mapping" in found.problems[4]


def test_a_file_nested_too_deeply_is_a_problem(tmp_path: Path) -> None:
    """A file that exhausts the parser's recursion is refused like any other."""
    (tmp_path / "deep.yaml").write_text("[" * 1500, encoding="utf-8")

    (problem,) = load_objectives(tmp_path).problems

    assert problem.startswith("deep.yaml: this is not YAML")


def test_a_name_is_taken_once(tmp_path: Path) -> None:
    """The second objective of a name is refused, because links go by name."""
    write(tmp_path, document(), document())

    found = load_objectives(tmp_path)

    assert len(found.objectives) == 1
    assert "“checkout-succeeds” is already taken" in found.problems[0]


def test_a_missing_directory_holds_no_objectives(tmp_path: Path) -> None:
    """The objectives' directory need not exist."""
    found = load_objectives(tmp_path / "none")

    assert (found.objectives, found.problems) == ((), ())


def test_a_file_is_parsed_again_only_when_it_changed(tmp_path: Path) -> None:
    """Two loads give the same objects; a new time stamp gives new ones."""
    write(tmp_path, document())
    first = load_objectives(tmp_path).objectives[0]

    same = load_objectives(tmp_path).objectives[0]
    os.utime(tmp_path / "slo.yaml", ns=(1, 1))
    later = load_objectives(tmp_path).objectives[0]

    assert same is first
    assert later is not first
    assert later == first
