"""sqlite3: a CLIENT span per statement, unless SQLAlchemy on top of it has already made one."""

from types import ModuleType

from wrapt import wrap_function_wrapper


def instrument(library: ModuleType) -> None:
    """Make every connection opened from now on a traced one.

    The official instrumentor hands out proxies, which `connection.execute` slips through and `backup` refuses.
    """
    from otel_agent.traced_sqlite3 import traced_connect

    wrap_function_wrapper(library, "connect", traced_connect)
    library.dbapi2.connect = library.connect
