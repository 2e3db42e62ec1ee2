"""Names become small integers, and what exceeds a limit shares one of them."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from apm_store.fingerprint import Statement
from apm_store.sqlite import dictionaries
from apm_store.sqlite.connections import connect_writer
from apm_store.sqlite.dictionaries import Dictionaries
from apm_store.sqlite.migrations import CATALOGUE

NOW_NS = 20_000 * 86_400_000_000_000
FAMILY = b"family.."


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    """The writer's connection to an empty catalogue, with an open transaction."""
    with closing(connect_writer(tmp_path / "spanwise.db", CATALOGUE)) as opened:
        opened.execute("BEGIN")
        yield opened


@pytest.fixture
def low_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three of each kind are allowed."""
    for name in ("MAX_SERVICES", "MAX_OPERATIONS", "MAX_STATEMENTS", "MAX_STREAMS", "MAX_NODES"):
        monkeypatch.setattr(dictionaries, name, 3)


def statement(number: int) -> Statement:
    """One of many statements."""
    return Statement(f"{number:016x}", f"SELECT {number}")


def stream(number: int, family: bytes = FAMILY) -> bytes:
    """The digest of one stream of a family."""
    return family + number.to_bytes(16, "big")


def ask(names: Dictionaries, kind: str, number: int) -> int:
    """The id of the n-th name of a kind."""
    ids = {
        "service": lambda: names.service_id(f"s{number}"),
        "operation": lambda: names.operation_id(f"GET /{number}", 1),
        "statement": lambda: names.statement_id(statement(number), "sqlite", "main"),
        "metric_stream": lambda: names.stream_id(stream(number), 1, "memory"),
        "node": lambda: names.node_id(f"n{number}", False),
    }
    return ids[kind]()


KINDS = ["service", "operation", "statement", "metric_stream", "node"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_name_keeps_its_id(connection: sqlite3.Connection, kind: str) -> None:
    """Asked again, from the cache or from the table, a name has the id that it got; others have others."""
    names = Dictionaries(connection)
    first = [ask(names, kind, number) for number in (1, 2, 1)]
    names.clear()

    again = [ask(names, kind, number) for number in (2, 1)]

    assert (first[0], first[1], first[0]) == tuple(first)
    assert again == [first[1], first[0]]
    assert len(set(first)) == 2


@pytest.mark.usefixtures("low_limits")
@pytest.mark.parametrize("is_restarted", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_what_exceeds_a_limit_shares_one_id(connection: sqlite3.Connection, kind: str, is_restarted: bool) -> None:
    """The first three names have ids of their own, all others the same one; a restart forgets no count."""
    names = Dictionaries(connection)
    own = [ask(names, kind, number) for number in (1, 2)]
    if is_restarted:
        names = Dictionaries(connection)
    own.append(ask(names, kind, 3))
    if is_restarted:
        names = Dictionaries(connection)

    shared = {ask(names, kind, number) for number in range(4, 20)}

    assert len({*own, *shared}) == 4
    assert [ask(names, kind, number) for number in (1, 2, 3)] == own
    assert connection.execute(f"SELECT count(*) FROM {kind}").fetchone() == (4,)


@pytest.mark.usefixtures("low_limits")
def test_each_service_has_its_own_share_of_operations(connection: sqlite3.Connection) -> None:
    """One service with ids in its span names takes nothing from the others; known names are free for all."""
    names = Dictionaries(connection)
    loud = [names.operation_id(f"GET /{number}", 1) for number in range(10)]

    quiet = [names.operation_id(name, 2) for name in ("GET /0", "GET /a", "GET /b", "GET /c", "GET /d")]

    assert loud[3:] == [loud[3]] * 7
    assert quiet == [loud[0], *quiet[1:4], loud[3]]
    assert len({*loud, *quiet}) == 7


@pytest.mark.usefixtures("low_limits")
def test_each_resource_and_metric_has_its_own_share_of_streams(connection: sqlite3.Connection) -> None:
    """The stream that overflows is one per family, and is known by its digest."""
    names = Dictionaries(connection)
    for number in range(1, 10):
        names.stream_id(stream(number), 1, "memory")
    names.stream_id(stream(1, b"another."), 1, "cpu")

    digests = [row[0] for row in connection.execute("SELECT digest FROM metric_stream ORDER BY id")]

    assert digests == [stream(1), stream(2), stream(3), stream(0), stream(1, b"another.")]
    assert [dictionaries.is_overflow_stream(digest) for digest in digests] == [False, False, False, True, False]


def test_operation_ids_of_the_last_allowed_service_fit_into_a_block(connection: sqlite3.Connection) -> None:
    """Blocks hold ids in 32 bits; the greatest service id is one above the limit."""
    service_id = dictionaries.MAX_SERVICES + 1
    connection.execute(
        "INSERT INTO operation VALUES (?, 'last')", ((service_id << 11) + dictionaries.MAX_OPERATIONS - 1,)
    )
    names = Dictionaries(connection)

    last, beyond = names.operation_id("one more", service_id), names.operation_id("too many", service_id)

    assert last == (service_id << 11) + dictionaries.MAX_OPERATIONS < 2**32
    assert beyond == 1


def test_a_new_service_gets_the_next_free_colour(connection: sqlite3.Connection) -> None:
    """Slots count up from 0 in the order of arrival."""
    names = Dictionaries(connection)
    for name in ("shop", "pay", "shop"):
        names.service_id(name)

    assert connection.execute("SELECT name, slot FROM service ORDER BY id").fetchall() == [("shop", 0), ("pay", 1)]


@pytest.mark.usefixtures("low_limits")
def test_each_exceeded_limit_is_told_once_a_day(connection: sqlite3.Connection) -> None:
    """A notice names the service or metric; a restart does not repeat it, the next day does."""
    names = Dictionaries(connection)
    for kind in KINDS:
        for number in range(1, 10):
            ask(names, kind, number)
    names.write_notices(NOW_NS)
    again = Dictionaries(connection)
    for number in range(10, 20):
        ask(again, "metric_stream", number)
        again.write_notices(NOW_NS + number)
    ask(again, "metric_stream", 20)
    again.write_notices(NOW_NS + 86_400_000_000_000)

    texts = [row[0] for row in connection.execute("SELECT text FROM notice ORDER BY id")]

    assert len(texts) == 6
    assert [text for text in texts if text.startswith("Metric memory of s1 has more than 3 sets")] == texts[3::2]
    assert texts[0] == "There are more than 3 services; the others count as otel.overflow. Look for ids in their names."
    assert texts[1].startswith("Service s1 has more than 3 span names;")


def test_caches_are_bounded_and_long_names_are_not_kept(
    connection: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cache that is full starts anew, and ids stay right all the same."""
    monkeypatch.setattr(dictionaries, "_MAX_CACHED", 5)
    names = Dictionaries(connection)
    first = [names.operation_id(name, 1) for name in (*map(str, range(20)), "x" * 5_000)]

    again = [names.operation_id(name, 1) for name in (*map(str, range(20)), "x" * 5_000)]

    assert again == first
    assert len(names._operations) <= 5
    assert "x" * 5_000 not in names._operations
