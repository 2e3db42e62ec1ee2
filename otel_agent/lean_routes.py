"""The route of a request to Starlette or FastAPI as the official instrumentations find it, without its parameters.

They have every route match the request once more, which reads and converts what its path holds.
"""

import sys
from collections.abc import Callable, Hashable, Iterator
from functools import lru_cache
from typing import Any

from otel_agent.lean_http import METHODS, ROUTE


def install(official: Any) -> None:
    """Change how requests are named from now on; AttributeError where the package does it in another way."""
    details = official._get_default_span_details
    find = _finder(sys.modules["starlette.routing"], sys.modules.get("fastapi.routing"))
    # What a route by host, which has no path, is called: FastAPI's instrumentation reads None where the other gives up.
    has_path_always = getattr(official, "iter_route_contexts", None) is not None

    def default_span_details(scope: Any) -> tuple[str, dict[str, Any]]:
        method = scope.get("method")
        if scope["type"] != "http" or method not in METHODS:
            return details(scope)  # type: ignore[no-any-return]
        route = find(scope, None if has_path_always else scope["path"])
        return (f"{method} {route}", {ROUTE: route}) if route else (method, {})

    official._get_default_span_details = default_span_details


def _finder(starlette: Any, fastapi: Any) -> Callable[[Any, str | None], str | None]:
    """Return what finds the path of the route that a request is for, or of the last one that has other methods.

    What it is given with the scope it returns for a route without a path.
    """
    path_of, match = starlette.get_route_path, starlette.Match
    methods = [library.matches for library in (starlette.Route, getattr(fastapi, "APIRoute", None)) if library]

    @lru_cache(256)
    def is_plain(kind: Hashable) -> bool:
        """Tell whether routes of this class match by their pattern and their methods alone."""
        return getattr(kind, "matches", None) in methods

    def find(scope: Any, pathless: str | None) -> Any:
        path, method, found = path_of(scope), scope["method"], None
        for route, is_known in _candidates(scope["app"].routes):
            kind: Any = type(route)
            if is_known or is_plain(kind):
                matches = route.path_regex.match(path) is not None
                is_full = matches and (not route.methods or method in route.methods)
            else:
                result = route.matches(scope)[0]
                matches, is_full = result != match.NONE, result == match.FULL
            if is_full:
                return getattr(route, "path", pathless)
            if matches:
                found = route.path
        return found

    return find


def _candidates(routes: Any) -> Iterator[tuple[Any, bool]]:
    """Give what can match a request, and whether it does by its pattern and methods alone as far as is known here."""
    for route in routes:
        if not hasattr(route, "effective_route_contexts"):
            yield route, False
            continue
        for context in route.effective_route_contexts():  # a router that FastAPI has included
            if context.starlette_route is not None:
                yield context.starlette_route, False
            else:
                yield context, context.path_regex is not None
