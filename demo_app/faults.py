"""The shop's seeded faults: one environment table that says which are on, and the dice of the flaky one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Fault:
    """One fault: its name, the variable that switches it (1 on, 0 off; default on), and what it does."""

    name: str
    variable: str
    effect: str


FAULTS = (
    Fault("n_plus_one", "SHOP_FAULT_N_PLUS_ONE", "GET /products reads the stock of each product in a query of its own"),
    Fault(
        "missing_index",
        "SHOP_FAULT_MISSING_INDEX",
        "stock_movements has no index on sku, so each look-up reads it whole",
    ),
    Fault("flaky_payments", "SHOP_FAULT_FLAKY_PAYMENTS", "POST /charge is sometimes refused with 503, sometimes slow"),
    Fault("chatty_cache", "SHOP_FAULT_CHATTY_CACHE", "the price cache is asked key by key instead of once"),
    Fault("memory_leak", "SHOP_FAULT_MEMORY_LEAK", "the worker keeps every report it made, up to 64 MB"),
)


@dataclass(frozen=True)
class Faults:
    """Which faults are on, and how often the flaky one strikes."""

    n_plus_one: bool = True
    missing_index: bool = True
    flaky_payments: bool = True
    chatty_cache: bool = True
    memory_leak: bool = True
    fail_rate: float = 0.12
    slow_rate: float = 0.08
    seed: int = 24


def read_faults(environ: Mapping[str, str]) -> Faults:
    """The faults that the environment asks for; ValueError names a variable that cannot be understood."""
    return Faults(
        **{fault.name: _switch(environ, fault.variable) for fault in FAULTS},
        fail_rate=_share(environ, "SHOP_FAIL_RATE", Faults.fail_rate),
        slow_rate=_share(environ, "SHOP_SLOW_RATE", Faults.slow_rate),
        seed=_integer(environ, "SHOP_SEED", Faults.seed),
    )


def _switch(environ: Mapping[str, str], variable: str) -> bool:
    value = environ.get(variable, "1")
    if value not in {"0", "1"}:
        raise ValueError(f"{variable} is {value!r}; write 1 for on or 0 for off.")
    return value == "1"


def _share(environ: Mapping[str, str], variable: str, default: float) -> float:
    value = environ.get(variable, str(default))
    try:
        share = float(value)
    except ValueError:
        share = -1.0
    if not 0 <= share <= 1:
        raise ValueError(f"{variable} is {value!r}; write a share between 0 and 1, for example 0.12.")
    return share


def _integer(environ: Mapping[str, str], variable: str, default: int) -> int:
    value = environ.get(variable, str(default))
    try:
        return int(value)
    except ValueError:
        raise ValueError(f"{variable} is {value!r}; write a whole number.") from None
