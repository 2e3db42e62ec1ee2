"""The faults are switched by one environment table."""

from dataclasses import replace
from pathlib import Path

import pytest

from demo_app.faults import FAULTS, Faults, read_faults


def test_all_faults_are_on_by_default():
    """An empty environment asks for every fault."""
    faults = read_faults({})

    assert faults == Faults()
    assert all(getattr(faults, fault.name) for fault in FAULTS)


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_a_variable_switches_its_own_fault_alone(fault):
    """Setting one variable to 0 switches off the fault of its row and nothing else."""
    faults = read_faults({fault.variable: "0"})

    assert faults == replace(Faults(), **{fault.name: False})


@pytest.mark.parametrize(
    ("variable", "value"),
    [("SHOP_FAULT_N_PLUS_ONE", "maybe"), ("SHOP_FAIL_RATE", "12"), ("SHOP_SLOW_RATE", "often"), ("SHOP_SEED", "x")],
)
def test_a_value_that_cannot_be_understood_names_its_variable(variable, value):
    """A wrong value ends in an error that says which variable has it."""
    with pytest.raises(ValueError, match=f"{variable} is '{value}'"):
        read_faults({variable: value})


def test_readme_documents_every_switch():
    """The shop's README names the variable of each fault, and every setting."""
    readme = (Path(__file__).parents[2] / "demo_app" / "README.md").read_text()

    wanted = {fault.variable for fault in FAULTS} | {
        "SHOP_DATA",
        "SHOP_PAYMENTS_URL",
        "SHOP_FAIL_RATE",
        "SHOP_SLOW_RATE",
        "SHOP_SEED",
    }
    assert {variable for variable in wanted if f"`{variable}`" not in readme} == set()
