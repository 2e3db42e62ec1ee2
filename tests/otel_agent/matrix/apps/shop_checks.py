"""The tests of a user's project."""

import os

import pytest
import requests
import stock


@pytest.mark.parametrize("number", range(int(os.environ["ITEMS"])))
def test_item(number):
    """There is an item."""
    assert stock.find(number + 1)["name"]


@pytest.mark.parametrize("number", range(int(os.environ["CALLS"])))
def test_call(number):
    """The other service answers."""
    assert requests.get(stock.URL, timeout=10).json() == {"amount": 7}
