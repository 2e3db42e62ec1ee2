"""aiohttp's server: a SERVER span per request, named after its route."""

import warnings
from collections.abc import Awaitable, Callable
from types import ModuleType
from typing import Any

from wrapt import wrap_function_wrapper

_TRACED = "spanwise.traced"


def instrument(library: ModuleType) -> None:
    """Trace every application made from now on.

    The official instrumentor puts a subclass in the place of Application, which fails when the host's middlewares are
    a tuple, changes its list of them, and traces the requests of a nested application twice.
    """
    from opentelemetry.instrumentation.aiohttp_server import AioHttpServerInstrumentor, create_aiohttp_middleware

    application = library.Application
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of the subclass, which nobody is going to use
        AioHttpServerInstrumentor().instrument()
    library.Application = application  # type: ignore[attr-defined]  # a module may have any
    trace_request = create_aiohttp_middleware()

    @library.middleware  # type: ignore[untyped-decorator]
    async def trace_once(request: Any, handler: Callable[[Any], Awaitable[Any]]) -> Any:
        if _TRACED in request:  # by the application that this one is nested in
            return await handler(request)
        request[_TRACED] = True
        return await trace_request(request, handler)

    def init(wrapped: Callable[..., None], _app: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        kwargs["middlewares"] = (trace_once, *kwargs.get("middlewares", ()))
        wrapped(*args, **kwargs)

    wrap_function_wrapper(library, "Application.__init__", init)
