"""Locks of the metrics SDK that a forked child finds free, though another thread of its parent held them."""

import os
import threading
from collections.abc import Callable
from types import ModuleType
from typing import Any
from weakref import WeakSet

from opentelemetry.metrics import _internal as api
from opentelemetry.sdk.metrics import _internal as sdk
from opentelemetry.sdk.metrics._internal import (
    _view_instrument_match,
    aggregation,
    export,
    measurement_consumer,
    metric_reader_storage,
)
from opentelemetry.sdk.metrics._internal.exemplar import exemplar_reservoir

_MODULES: tuple[ModuleType, ...] = (
    api,
    sdk,
    _view_instrument_match,
    aggregation,
    export,
    measurement_consumer,
    metric_reader_storage,
    exemplar_reservoir,
)
_locks: WeakSet[Any] = WeakSet()


def renew_locks_in_children() -> None:
    """Make every lock that the metrics SDK creates from now on free in a forked child.

    The SDK renews some of its locks itself, but not those that every measurement takes.
    """
    if not hasattr(os, "register_at_fork"):
        return
    for module in _MODULES:
        for name in ("Lock", "RLock"):
            if hasattr(module, name):
                setattr(module, name, _remembering(getattr(threading, name)))
    os.register_at_fork(after_in_child=_renew)


def _remembering(make_lock: Callable[[], Any]) -> Callable[[], Any]:
    def lock() -> Any:
        made = make_lock()
        _locks.add(made)
        return made

    return lock


def _renew() -> None:
    for lock in list(_locks):
        lock._at_fork_reinit()
