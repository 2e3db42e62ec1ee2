"""The shop's three objectives: OpenSLO documents about operations that the storefront really has."""

from pathlib import Path

import pytest
import yaml

from demo_app.faults import Faults
from demo_app.storefront import create_app

FILES = sorted((Path(__file__).parents[2] / "demo_app" / "slo").glob("*.yaml"))


def load(path):
    """The document of a file."""
    return yaml.safe_load(path.read_text())


def ratio(document):
    """The ratio metric of an objective, as kind → what it counts."""
    metric = document["spec"]["indicator"]["spec"]["ratioMetric"]
    return {kind: metric[kind]["metricSource"]["spec"] for kind in ("good", "bad", "total") if kind in metric}


def test_there_are_three():
    """Checkout, catalogue and look-ups each have their objective."""
    targets = {load(path)["metadata"]["name"]: load(path)["spec"]["objectives"][0]["target"] for path in FILES}

    assert targets == {"checkout-succeeds": 0.995, "catalogue-under-600ms": 0.99, "product-lookups-succeed": 0.999}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_the_document_has_the_common_frame(path):
    """Kind, service, rolling window and method are the ones that all three share; the file has the document's name."""
    document = load(path)
    spec = document["spec"]

    assert (document["apiVersion"], document["kind"]) == ("openslo/v1", "SLO")
    assert document["metadata"]["name"] == spec["indicator"]["metadata"]["name"] == path.stem
    assert (spec["service"], spec["budgetingMethod"]) == ("storefront", "Occurrences")
    assert spec["timeWindow"] == [{"duration": "30d", "isRolling": True}]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_operation_is_a_route_of_the_storefront(path, shop_data):
    """The operation that is counted is a method and a route that Flask has."""
    rules = create_app(shop_data, "http://127.0.0.1:1", Faults()).url_map.iter_rules()
    routes = {f"{method} {rule.rule}" for rule in rules for method in rule.methods}

    assert {count["operation"] for count in ratio(load(path)).values()} <= routes
