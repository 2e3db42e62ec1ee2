"""What the agent does when the host first uses a library that every process has imported anyway."""

import os
from _thread import RLock
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from typing import Any

from otel_agent.background import SDK_THREAD_PREFIX
from otel_agent.diagnostics import LOGGER_NAMES
from otel_agent.guard import guard

# What the SDK's own threads and our loggers are called: their calls are none of the host's.
_OWN = (SDK_THREAD_PREFIX, *LOGGER_NAMES)
# How long a second thread's call waits for the first one's. They cannot wait for each other for ever, as imports might.
_PATIENCE_S = 1.0


@dataclass
class _Method:
    """A method that is waited for: what stands in for it meanwhile, what has to be loaded, and what then wraps it."""

    owner: type
    name: str
    load: Callable[[], object]
    wrap: Callable[[], object]
    own: Any
    stand_in: Any = None

    def put_beneath(self) -> None:
        """Wrap the method where it was, beneath what others have put around the stand-in since."""
        top = vars(self.owner)[self.name]
        setattr(self.owner, self.name, self.own)
        self.wrap()
        self.own = vars(self.owner)[self.name]
        if top is not self.stand_in:
            setattr(self.owner, self.name, top)


class FirstCalls:
    """Wraps methods when the first of them is called by the host; that call already goes through the wrapping.

    `instance.name` tells the host's instances of their classes from the agent's.
    """

    def __init__(self) -> None:
        self._lock = RLock()
        self._is_begun = self._is_over = False
        self._methods: list[_Method] = []
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(before=self.begin)  # a fork in its midst would leave a child with half of a module

    def wait_for(self, owner: type, name: str, load: Callable[[], object], wrap: Callable[[], object]) -> None:
        """Call `load()` and then `wrap()`, which may wrap the method `name` of the class `owner`, when it is time."""
        method = _Method(owner, name, load, wrap, vars(owner)[name])
        method.stand_in = self._stand_in_for(method)
        setattr(owner, name, method.stand_in)
        self._methods.append(method)

    def begin(self) -> None:
        """Load and wrap all of it now, unless that is done; a call from within returns at once."""
        if self._is_over or not self._lock.acquire(timeout=_PATIENCE_S):
            return
        try:
            if not self._is_begun:
                self._is_begun = True
                for method in self._methods:
                    method.load()
                for method in self._methods:
                    method.put_beneath()
                self._is_over = True
        finally:
            self._lock.release()

    def _stand_in_for(self, method: _Method) -> Callable[..., Any]:
        @wraps(method.own)
        def first_call(instance: Any, *args: Any, **kwargs: Any) -> Any:
            if not self._is_over:
                with guard("prepare what the host begins to use"):
                    if not instance.name.startswith(_OWN):
                        self.begin()
            return method.own.__get__(instance, type(instance))(*args, **kwargs)

        return first_call
