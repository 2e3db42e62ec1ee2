"""Spans of one trace → a tree with depth and self time, whatever the parent links look like."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol


class SpanLike(Protocol):
    """What a tree needs to know of a span; `Span` and `SpanRow` both have it."""

    @property
    def trace_id(self) -> str:
        """The trace the span belongs to."""
        ...

    @property
    def span_id(self) -> str:
        """The span's id."""
        ...

    @property
    def parent_span_id(self) -> str:
        """The parent's id, or "" for a root."""
        ...

    @property
    def start_ns(self) -> int:
        """When the span started."""
        ...

    @property
    def duration_ns(self) -> int:
        """How long the span took."""
        ...

    @property
    def service(self) -> str:
        """The service that made the span."""
        ...


@dataclass(frozen=True, slots=True)
class TreeNode:
    """One span in its place. `span` is the `Span` or `SpanRow` that was given.

    `parent` and `children` are indexes into `TraceTree.nodes` (`parent` is -1 at a root); the descendants are
    `nodes[index + 1 : end_of_subtree]`. `is_orphan`: the named parent is not among the spans.
    `is_cycle_cut`: the parent links run in a circle, which is opened here.
    """

    span: Any
    depth: int
    parent: int
    children: tuple[int, ...]
    self_time_ns: int
    is_orphan: bool
    is_cycle_cut: bool
    end_of_subtree: int


@dataclass(frozen=True, slots=True)
class TraceTree:
    """All spans of a trace, depth first, siblings in order of start."""

    nodes: list[TreeNode]

    @property
    def roots(self) -> tuple[int, ...]:
        """Indexes of all nodes without a parent in the tree: true roots, orphans and cycle cuts."""
        roots, index = [], 0
        while index < len(self.nodes):
            roots.append(index)
            index = self.nodes[index].end_of_subtree
        return tuple(roots)

    @property
    def root(self) -> int:
        """Index of the root that stands for the trace: the first true root, else the first root; -1 when empty."""
        roots = self.roots
        true_roots = (index for index in roots if not self.nodes[index].span.parent_span_id)
        return next(true_roots, roots[0] if roots else -1)

    @property
    def start_ns(self) -> int:
        """When the first span started; 0 when there is none."""
        return min((node.span.start_ns for node in self.nodes), default=0)

    @property
    def duration_ns(self) -> int:
        """From the first start to the last end; 0 when there are no spans."""
        return max((node.span.start_ns + node.span.duration_ns for node in self.nodes), default=0) - self.start_ns

    def self_time_by_service(self) -> list[tuple[str, int]]:
        """(service, nanoseconds of self time), most first; together they are the self time of all spans."""
        totals: dict[str, int] = {}
        for node in self.nodes:
            totals[node.span.service] = totals.get(node.span.service, 0) + node.self_time_ns
        return sorted(totals.items(), key=lambda item: (-item[1], item[0]))


def build_tree(spans: Sequence[SpanLike]) -> TraceTree:
    """The tree of one trace's spans. Every span given is in it exactly once; links are no parents.

    Spans that share an id (a client and its server, as Zipkin sends them) are all kept, the later ones below the first.
    """
    ordered = sorted(spans, key=lambda span: (span.start_ns, -span.duration_ns))
    parents = _parents(ordered)
    cuts = _cut_cycles(parents)
    children: list[list[int]] = [[] for _ in ordered]
    for index, parent in enumerate(parents):
        if parent >= 0:
            children[parent].append(index)
    order = _depth_first([index for index, parent in enumerate(parents) if parent < 0], children)
    return TraceTree(_nodes(ordered, parents, children, order, cuts))


def _parents(spans: Sequence[SpanLike]) -> list[int]:
    """Each span's parent as an index, -1 when there is none; a span that names itself is its own parent."""
    first: dict[str, int] = {}
    first_of_service: dict[tuple[str, str], int] = {}
    for index, span in enumerate(spans):
        first.setdefault(span.span_id, index)
        first_of_service.setdefault((span.span_id, span.service), index)
    parents = []
    for index, span in enumerate(spans):
        twin = first[span.span_id]
        if twin != index and span.parent_span_id in (spans[twin].parent_span_id, span.span_id):
            parents.append(twin)
        elif not span.parent_span_id:
            parents.append(-1)
        else:  # where a client and its server share the id, the child belongs to the one of its own service
            named = first.get(span.parent_span_id, -1)
            parents.append(first_of_service.get((span.parent_span_id, span.service), named))
    return parents


def _cut_cycles(parents: list[int]) -> set[int]:
    """Open every circle of `parents` in place at its earliest span; gives the spans where that was done."""
    cuts: set[int] = set()
    walk_of = [-1] * len(parents)
    for start in range(len(parents)):
        index = start
        while index >= 0 and walk_of[index] < 0:
            walk_of[index] = start
            index = parents[index]
        if index >= 0 and walk_of[index] == start:
            cut = _earliest_in_circle(index, parents)
            parents[cut] = -1
            cuts.add(cut)
    return cuts


def _earliest_in_circle(index: int, parents: Sequence[int]) -> int:
    earliest, current = index, parents[index]
    while current != index:
        earliest = min(earliest, current)
        current = parents[current]
    return earliest


def _depth_first(roots: Iterable[int], children: Sequence[Sequence[int]]) -> list[int]:
    order = []
    stack = list(roots)[::-1]
    while stack:
        index = stack.pop()
        order.append(index)
        stack.extend(reversed(children[index]))
    return order


def _nodes(
    spans: Sequence[SpanLike],
    parents: Sequence[int],
    children: Sequence[Sequence[int]],
    order: Sequence[int],
    cuts: set[int],
) -> list[TreeNode]:
    place = [0] * len(spans)
    for position, index in enumerate(order):
        place[index] = position
    sizes = [1] * len(spans)
    depths = [0] * len(spans)
    for index in order:
        if parents[index] >= 0:
            depths[index] = depths[parents[index]] + 1
    for index in reversed(order):
        if parents[index] >= 0:
            sizes[parents[index]] += sizes[index]
    return [
        TreeNode(
            span=spans[index],
            depth=depths[index],
            parent=place[parents[index]] if parents[index] >= 0 else -1,
            children=tuple([place[child] for child in children[index]]),
            self_time_ns=_self_time_ns(spans[index], [spans[child] for child in children[index]]),
            is_orphan=parents[index] < 0 and spans[index].parent_span_id != "" and index not in cuts,
            is_cycle_cut=index in cuts,
            end_of_subtree=position + sizes[index],
        )
        for position, index in enumerate(order)
    ]


def _self_time_ns(span: SpanLike, children: Sequence[SpanLike]) -> int:
    """The span's duration less the union of its children's intervals within it; `children` in order of start."""
    if not children:
        return span.duration_ns
    end_ns = span.start_ns + span.duration_ns
    covered_to, self_time_ns = span.start_ns, 0
    for child in children:
        if child.start_ns > covered_to:
            self_time_ns += min(child.start_ns, end_ns) - min(covered_to, end_ns)
        covered_to = max(covered_to, child.start_ns + child.duration_ns)
    return self_time_ns + max(0, end_ns - covered_to)
