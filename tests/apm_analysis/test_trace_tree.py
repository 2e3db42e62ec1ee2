"""Trees of well-formed and of broken traces."""

from __future__ import annotations

import random
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apm_analysis.trace_tree import TraceTree, build_tree
from apm_store.query import SpanRow


def row(
    span_id: str, parent: str = "", start_ns: int = 0, duration_ns: int = 10, service: str = "shop", kind: int = 2
) -> SpanRow:
    return SpanRow("t", span_id, parent, service, span_id, kind, start_ns, duration_ns, False, None)


def shape(tree: TraceTree) -> list[tuple[str, int]]:
    return [(node.span.span_id, node.depth) for node in tree.nodes]


def test_nodes_are_depth_first_in_order_of_start() -> None:
    """Siblings follow each other by start, each with its descendants right behind it."""
    spans = [row("c", "a", 5), row("a", "", 0, 100), row("d", "b", 3), row("b", "a", 2)]

    tree = build_tree(spans)

    assert shape(tree) == [("a", 0), ("b", 1), ("d", 2), ("c", 1)]
    assert [node.parent for node in tree.nodes] == [-1, 0, 1, 0]
    assert [node.children for node in tree.nodes] == [(1, 3), (2,), (), ()]
    assert [node.end_of_subtree for node in tree.nodes] == [4, 3, 3, 4]


def test_no_spans_make_an_empty_tree() -> None:
    """A trace without spans has no root and no duration."""
    tree = build_tree([])

    assert (tree.nodes, tree.roots, tree.root, tree.start_ns, tree.duration_ns) == ([], (), -1, 0, 0)
    assert tree.self_time_by_service() == []


def test_the_trace_lasts_from_first_start_to_last_end() -> None:
    """A child that outlives its root makes the trace longer."""
    tree = build_tree([row("a", "", 100, 50), row("b", "a", 120, 90)])

    assert (tree.start_ns, tree.duration_ns) == (100, 110)


def test_an_orphan_is_a_marked_extra_root() -> None:
    """A span whose parent never arrived stands beside the true root, which stays the main one."""
    tree = build_tree([row("lost", "gone", 0), row("a", "", 5), row("b", "a", 6)])

    assert shape(tree) == [("lost", 0), ("a", 0), ("b", 1)]
    assert [node.is_orphan for node in tree.nodes] == [True, False, False]
    assert tree.roots == (0, 1)
    assert tree.nodes[tree.root].span.span_id == "a"


def test_without_a_true_root_the_first_root_stands_for_the_trace() -> None:
    """A trace of orphans is led by the earliest one."""
    tree = build_tree([row("y", "gone", 7), row("x", "gone", 3)])

    assert tree.nodes[tree.root].span.span_id == "x"


def test_a_span_that_names_itself_is_a_marked_root() -> None:
    """A self-parent is cut and is no orphan."""
    (node,) = build_tree([row("a", "a")]).nodes

    assert (node.parent, node.is_cycle_cut, node.is_orphan, node.self_time_ns) == (-1, True, False, 10)


def test_a_circle_is_cut_at_its_earliest_span() -> None:
    """Three spans in a circle and one that hangs on it come out as one tree, cut once."""
    tree = build_tree([row("b", "a", 2), row("tail", "c", 9), row("c", "b", 3), row("a", "c", 1)])

    assert shape(tree) == [("a", 0), ("b", 1), ("c", 2), ("tail", 3)]
    assert [node.is_cycle_cut for node in tree.nodes] == [True, False, False, False]


def test_a_client_and_a_server_may_share_an_id() -> None:
    """Zipkin's pair is kept, the server below the client, and children hang on the copy of their own service."""
    client = row("rpc", "root", 1, 8, "shop", kind=3)
    server = row("rpc", "root", 2, 6, "payments")
    spans = [row("root", "", 0), client, server, row("sql", "rpc", 3, 1, "payments"), row("log", "rpc", 2, 1, "shop")]

    tree = build_tree(spans)

    assert [(node.span.span_id, node.span.service, node.depth) for node in tree.nodes] == [
        ("root", "shop", 0),
        ("rpc", "shop", 1),
        ("rpc", "payments", 2),
        ("sql", "payments", 3),
        ("log", "shop", 2),
    ]


def test_copies_that_name_themselves_are_cut_once() -> None:
    """Two spans of one id that both name it as their parent: the first is the cut root, the second its child."""
    tree = build_tree([row("a", "a", 0), row("a", "a", 1)])

    assert [(node.depth, node.is_cycle_cut) for node in tree.nodes] == [(0, True), (1, False)]


def test_copies_under_different_parents_stay_there() -> None:
    """An id that two spans share by chance moves neither of them."""
    tree = build_tree([row("p", "", 0), row("q", "", 1), row("x", "p", 2), row("x", "q", 3)])

    assert shape(tree) == [("p", 0), ("x", 1), ("q", 0), ("x", 1)]


def test_self_time_is_added_up_by_service() -> None:
    """The service with the most self time comes first; overlap of children is not taken twice."""
    spans = [row("a", "", 0, 100), row("b", "a", 10, 50, "db"), row("c", "a", 40, 50, "db"), row("d", "a", 95, 50)]

    tree = build_tree(spans)

    assert tree.self_time_by_service() == [("db", 100), ("shop", 65)]


links = st.lists(
    st.tuples(st.integers(-1, 12), st.integers(0, 40), st.integers(0, 20), st.sampled_from(["a", "b"])), max_size=12
)


@given(links)
def test_self_time_agrees_with_counting_nanoseconds(links: list[tuple[int, int, int, str]]) -> None:
    """For any parent links and intervals self time is the number of nanoseconds that no child covers."""
    spans = [
        row(str(i), str(parent) if parent >= 0 else "", start, length, service)
        for i, (parent, start, length, service) in enumerate(links)
    ]

    tree = build_tree(spans)

    for node in tree.nodes:
        own = set(range(node.span.start_ns, node.span.start_ns + node.span.duration_ns))
        for child in node.children:
            start = tree.nodes[child].span.start_ns
            own -= set(range(start, start + tree.nodes[child].span.duration_ns))
        assert node.self_time_ns == len(own)
    assert sum(ns for _, ns in tree.self_time_by_service()) == sum(node.self_time_ns for node in tree.nodes)


@given(links, st.integers(1, 13))
def test_any_links_make_a_forest(links: list[tuple[int, int, int, str]], ids: int) -> None:
    """Whatever the ids and links, every span is in the tree once, and depth, parents and subtrees agree."""
    spans = [
        row(str(i % ids), str(parent) if parent >= 0 else "", start, length, service)
        for i, (parent, start, length, service) in enumerate(links)
    ]

    tree = build_tree(spans)

    assert sorted(id(node.span) for node in tree.nodes) == sorted(map(id, spans))
    for index, node in enumerate(tree.nodes):
        assert node.depth == (tree.nodes[node.parent].depth + 1 if node.parent >= 0 else 0)
        assert all(tree.nodes[child].parent == index for child in node.children)
        below = [other for other in range(len(spans)) if index in _ancestors(tree, other)]
        assert below == list(range(index + 1, node.end_of_subtree))


def _ancestors(tree: TraceTree, index: int) -> set[int]:
    found = set()
    while (index := tree.nodes[index].parent) >= 0:
        found.add(index)
    return found


SIZE = 100_000


@pytest.mark.parametrize(
    "parent_of",
    [
        pytest.param(lambda i: i - 1, id="chain"),
        pytest.param(lambda i: 0 if i else -1, id="star"),
        pytest.param(lambda i: (i + 1) % SIZE, id="circle"),
        pytest.param(lambda i: 12_345_678, id="orphans"),
    ],
)
def test_a_hundred_thousand_spans_take_at_most_a_second(parent_of: object) -> None:
    """Depth and width cost no recursion and no quadratic time."""
    spans = [row(str(i), "" if parent_of(i) < 0 else str(parent_of(i)), i, SIZE - i) for i in range(SIZE)]  # type: ignore[operator]
    random.Random(1).shuffle(spans)
    started = time.process_time()

    tree = build_tree(spans)
    tree.self_time_by_service()

    assert time.process_time() - started < 2  # 1 s, and as much again for a busy machine
    assert len(tree.nodes) == SIZE


def test_a_hundred_thousand_copies_of_one_id_take_at_most_a_second() -> None:
    """Spans that all share one id, and all name it, cost no quadratic time."""
    spans = [row("same", "same" if i % 2 else "", i, 5, f"service-{i % 7}") for i in range(SIZE)]
    started = time.process_time()

    tree = build_tree(spans)

    assert time.process_time() - started < 2
    assert len(tree.nodes) == SIZE
