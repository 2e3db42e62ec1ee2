"""What the agent leaves until the host begins to use something, and how it notices that."""

# Loaded before anything here is registered: executors then end after our waiting at the end of the process, and our
# waiting before a fork comes before their lock is taken.
import concurrent.futures.thread  # noqa: F401
import os
import sys
import threading
from _thread import RLock
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from types import ModuleType
from typing import Any

from otel_agent.background import SDK_THREAD_PREFIX, BackgroundThread
from otel_agent.diagnostics import LOGGER_NAMES, fall_silent
from otel_agent.guard import guard
from otel_agent.imports import before_imports, importing_from, stop_looking

# What the SDK's own threads and our loggers are called: their calls are none of the host's.
_OWN = (SDK_THREAD_PREFIX, *LOGGER_NAMES)
_NEVER_S = 3600.0
# How long the end of the process waits for what its age has begun.
_END_S = 1.0


class _Turn:
    """Only one thread prepares at a time. The others wait for it, but not for ever, as they might for its imports.

    Nobody prepares while the process forks, which would leave a child with half of a module.
    """

    def __init__(self) -> None:
        self.patience_s = 5.0
        self._begin_anew()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(
                before=self.take, after_in_parent=self._leave_after_fork, after_in_child=self._begin_anew
            )

    def _begin_anew(self) -> None:
        self._lock: Any = RLock()

    def _leave_after_fork(self) -> None:
        if self.is_mine():
            self.leave()

    def is_mine(self) -> bool:
        """Whether it is this thread that prepares."""
        return bool(self._lock._is_owned())

    def take(self) -> bool:
        """Wait for the turn; False when that was in vain, and from then on nobody waits."""
        if self._lock.acquire(timeout=self.patience_s):
            return True
        self.patience_s = 0.0
        return False

    def leave(self) -> None:
        """Let the next one prepare."""
        self._lock.release()


_turn = _Turn()


@dataclass
class _Callable:
    """A function or method that is waited for: what stands in for it, what has to be loaded, what then wraps it."""

    owner: Any
    name: str
    load: Callable[[], object]
    wrap: Callable[[], object]
    own: Any
    stand_in: Any = None

    def put_beneath(self) -> None:
        """Wrap it where it was, beneath what others have put around the stand-in since.

        A function may have been imported by name: the module keeps the stand-in, for the two to be the same.
        """
        top = vars(self.owner)[self.name]
        setattr(self.owner, self.name, self.own)
        self.wrap()
        self.own = vars(self.owner)[self.name]
        if top is not self.stand_in or isinstance(self.owner, ModuleType):
            setattr(self.owner, self.name, top)

    def call(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Call it as it is now."""
        if isinstance(self.owner, ModuleType):
            return self.own(*args, **kwargs)
        return self.own.__get__(args[0], type(args[0]))(*args[1:], **kwargs)


def is_hosts_instance(instance: Any, *_: Any, **__: Any) -> bool:
    """Tell the host's threads and loggers from those of the agent and the SDK."""
    return not instance.name.startswith(_OWN)


def is_call_from_host(*_: Any, **__: Any) -> bool:
    """Tell whether a stand-in that asks this was called by a module outside of the standard library."""
    frame = sys._getframe(2)
    while frame.f_back is not None and frame.f_globals.get("__name__") == "functools":  # cache calls lru_cache
        frame = frame.f_back
    return str(frame.f_globals.get("__name__")).partition(".")[0] not in sys.stdlib_module_names


class FirstUse:
    """Makes `prepare()` once, when the first of what it waits for happens, and before that goes on.

    When that answers False, nothing is loaded and wrapped either.
    """

    def __init__(self, prepare: Callable[[], bool] = lambda: True) -> None:
        self._prepare = prepare
        self._paths = tuple(sys.path)
        self._is_begun = self._is_over = self._is_ending = False
        self._callables: list[_Callable] = []
        self._is_use: Callable[[str], bool] | None = None
        self._clock: BackgroundThread | None = None

    def begin(self) -> None:
        """Prepare, load and wrap now, unless that is done; a call from within returns at once."""
        if self._is_over or self._is_ending or not _turn.take():
            return
        try:
            if not self._is_begun:
                self._is_begun = True
                self._stop_waiting()
                with importing_from(self._paths):
                    is_going_on = self._prepare()
                    for one in self._callables if is_going_on else ():
                        one.load()
                    for one in self._callables if is_going_on else ():
                        one.put_beneath()
                self._is_over = True
        finally:
            _turn.leave()

    def at_call(
        self,
        owner: type | ModuleType,
        name: str,
        load: Callable[[], object],
        wrap: Callable[[], object],
        is_hosts: Callable[..., bool] = is_hosts_instance,
    ) -> None:
        """Begin at the first call of `owner.name` for whose arguments `is_hosts` holds.

        Then `load()` is called and `wrap()`, which may wrap what is called; the call already goes through that.
        """
        one = _Callable(owner, name, load, wrap, vars(owner)[name])
        one.stand_in = self._stand_in_for(one, is_hosts)
        setattr(owner, name, one.stand_in)
        self._callables.append(one)

    def at_import(self, is_use: Callable[[str], bool]) -> None:
        """Begin before the first module is looked for of whose name `is_use` holds."""
        self._is_use = is_use
        before_imports(self._look)

    def at_age(self, age_s: float) -> None:
        """Begin on a thread of its own when the process is still there after `age_s` seconds."""
        self._clock = BackgroundThread("FirstUse", self._ring, lambda: not self._is_begun, age_s)
        self._clock.start()

    def not_after_end(self) -> None:
        """Do not begin any more once the main thread has ended: the SDK needs an executor, and there are none then.

        What has begun by age is waited for.
        """
        threading._register_atexit(self._end)  # type: ignore[attr-defined]  # the handlers of atexit come too late

    def _ring(self, is_last: bool) -> float:
        if not is_last:
            self.begin()
        return _NEVER_S

    def _end(self) -> None:
        self._is_ending = True
        if self._clock is not None:
            fall_silent()  # Python 3.12 refuses the threads that it needs
            self._clock.begin_end()
            self._clock.join(_END_S)

    def _look(self, name: str) -> None:
        if self._is_use is not None and self._is_use(name):
            with guard("start before what the host imports"):
                self.begin()

    def _stop_waiting(self) -> None:
        stop_looking(self._look)
        if self._clock is not None:
            self._clock.begin_end()

    def _stand_in_for(self, one: _Callable, is_hosts: Callable[..., bool]) -> Callable[..., Any]:
        @wraps(one.own)
        def first_call(*args: Any, **kwargs: Any) -> Any:
            if not self._is_over and not _turn.is_mine():
                with guard("prepare what the host begins to use"):
                    if is_hosts(*args, **kwargs):
                        self.begin()
            return one.call(args, kwargs)

        return first_call
