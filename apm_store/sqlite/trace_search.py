"""Finds the traces that meet a query block by block, best blocks first, and stops when no other can be among the best.

Of a trace the earliest matching span counts. While blocks are unread it may lie there, so for the traces that are to
be returned these blocks are looked up in the directory and read, until nothing can change.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from heapq import heapify, heappop, heappush, nlargest
from itertools import compress, groupby, repeat, takewhile
from operator import itemgetter

from apm_store.api import StoreTimeoutError
from apm_store.model import Signal
from apm_store.query import TraceQuery
from apm_store.sqlite.block import Block, BlockSpan
from apm_store.sqlite.block_scan import BlockScan
from apm_store.sqlite.block_sieve import BlockSieve
from apm_store.sqlite.reader import Snapshot
from apm_store.sqlite.segment_reader import BlockHead, SegmentSnapshot
from apm_store.sqlite.span_conditions import UnknownNameError, at_least, conditions_of, picked
from apm_store.sqlite.trace_places import BlockIndex, listed_bodies, spans_of

SCAN_SPANS = 20_000
"""Up to so many spans are looked at even when fewer suffice, so that small answers are counted to the end."""

_COUNTED_PAGE = 50  # who asks for fewer traces asks for their number; that of a longer page is known to be large
_SEARCH_SHARE = 0.6  # of the time limit; the rest is for the spans of what was found
_POINTS_SHARE = 0.02  # of the time limit, from which on only what is listed is searched for
_ATTRIBUTES_COST = 4  # a span whose request must be read counts as so many
_MAX_TRACES = 200_000  # about 40 MB
_BLOCKS_PER_RANKING = 8  # ranking what was found costs as much as reading some blocks
_FEW = 1_000  # up to which picking the best is faster than sorting all
_RESOLVED = -1

Rank = tuple[int, int]

Match = tuple[int, int, int, int]
"""A span that meets the query: start, negative duration, number of its block, and its row there.

Of one trace the least match is the matched span. The number is -1 for spans of resolved traces.
"""


_number = itemgetter(2)
_LEAST: Rank = (-1, -1)
_GREATEST: Rank = (1 << 64, 0)


@dataclass(frozen=True, slots=True)
class _Goal:
    """What to search for: the `count` best matches by `rank`, and up to `at_most` while it takes little time.

    `bound` is the best rank that an unread span of a block can have. With `is_partial`, spans that cannot be among
    the best may stay unread.
    """

    count: int
    at_most: int
    rank: Callable[[Match], Rank]
    bound: Callable[[int], Rank]
    is_partial: bool = False


def _by_start(match: Match) -> Rank:
    return match[0], 0


def _by_duration(match: Match) -> Rank:
    return -match[1], match[0]


class TraceSearch:
    """The search for one query. When its share of the time limit is over, it answers with what it has found.

    Blocks are known by their number among those that may hold matching spans. `_waiting` has those with unread ones,
    each with the greatest duration that these can have.
    """

    def __init__(self, snapshot: Snapshot, query: TraceQuery) -> None:
        self._snapshot = snapshot
        self._has_attributes = bool(query.attributes)
        self._segments: list[SegmentSnapshot] = []
        self._heads: list[BlockHead] = []
        self._waiting: dict[int, int] = {}
        self._close: set[int] = set()
        self._found: dict[bytes, Match] = {}
        self._certain: set[bytes] = set()
        self._resolved: dict[bytes, list[BlockSpan]] = {}
        self._matched: list[BlockSpan] = []
        self._scanned = 0
        self._is_countable = True
        self._is_broken_off = False
        try:
            self._conditions = conditions_of(snapshot, query)
        except UnknownNameError:
            return
        self._segments = snapshot.segments(self._conditions.first_ns, self._conditions.last_ns, Signal.TRACES)
        self._sieve = BlockSieve(snapshot, query, self._conditions)
        self._scan = BlockScan(snapshot, query, self._conditions)
        for segment in self._segments:
            for head in segment.block_heads():
                bound_ns = self._sieve.bound_ns(head)
                if bound_ns is not None:
                    self._waiting[len(self._heads)] = bound_ns
                    self._heads.append(head)
        self._is_countable = sum(map(self._cost_of, self._heads)) <= SCAN_SPANS

    @property
    def total(self) -> int:
        """How many traces were found."""
        return len(self._found)

    @property
    def is_complete(self) -> bool:
        """Whether there are no others."""
        return not (self._waiting or self._is_broken_off or (self._heads and self._scan.has_damage))

    @property
    def resolved(self) -> Mapping[bytes, Sequence[BlockSpan]]:
        """All spans of those traces for which they were needed, in order of start."""
        return self._resolved

    def newest(self, count: int, at_most: int) -> list[Match]:
        """The matched spans of the traces whose matched spans start last, latest first.

        There are at least `count`, if there are so many at all, and `at_most` if they are found soon.
        """

        def bound(number: int) -> Rank:
            return self._last_ns(number), 0

        return self._best(_Goal(count, max(count, at_most), _by_start, bound), self._read_behind)

    def slowest(self, count: int) -> list[Match]:
        """The matched spans of the traces whose matched spans last longest; of equals the latest comes first."""

        def bound(number: int) -> Rank:
            return self._waiting[number], self._last_ns(number)

        is_partial = not self._has_attributes
        goal = _Goal(count, count, _by_duration, bound, is_partial)
        return self._best(goal, self._resolve if is_partial else self._read_behind)

    def spans(self, matches: Collection[Match]) -> dict[Match, BlockSpan]:
        """The spans that these matches stand for."""
        spans: dict[Match, BlockSpan] = {}
        for number, group in groupby(sorted(matches, key=_number), _number):
            if number == _RESOLVED:
                spans |= {match: self._matched[match[3]] for match in group}
            else:
                block = self._snapshot.block(self._heads[number])
                spans |= {match: block.span(match[3]) for match in group}
        return spans

    def _last_ns(self, number: int) -> int:
        return min(self._heads[number].last_ns, self._conditions.last_ns)

    def _best(self, goal: _Goal, settle: Callable[[Sequence[bytes]], bool]) -> list[Match]:
        """The best matches; `settle` makes sure of those of some traces and tells whether anything changed."""
        floor = _LEAST
        try:
            with self._snapshot.within(_SEARCH_SHARE):
                while goal.at_most > 0 and not self._is_broken_off:
                    floor = self._read_best(goal)
                    if not settle(self._ranked(goal, floor)):
                        break
        except StoreTimeoutError:
            self._is_broken_off, floor = True, _LEAST
        return [self._found[trace_id] for trace_id in self._ranked(goal, floor)]

    def _ranked(self, goal: _Goal, floor: Rank) -> list[bytes]:
        """The traces whose rank no unread span can reach, the best first."""
        ranks = {trace_id: goal.rank(match) for trace_id, match in self._found.items()}
        best = sorted(ranks, key=ranks.__getitem__, reverse=True)[: goal.at_most]
        return [trace_id for trace_id in best if ranks[trace_id] >= floor]

    def _read_best(self, goal: _Goal) -> Rank:
        """Read blocks until enough matches are better than all unread ones can be; gives the best rank of those."""
        queue = _Queue(self._waiting, goal.bound)
        least_scanned = SCAN_SPANS if self._is_countable or goal.count < _COUNTED_PAGE else 0
        guesses = self._guesses(goal.count) if goal.is_partial and not least_scanned else []
        kept: Rank | None = None
        next_ranking = 0
        while not self._is_broken_off and (number := queue.first()) is not None:
            if not self._may_hold(number):
                queue.drop_first()
                continue
            bound = goal.bound(number)
            wanted = goal.count if self._snapshot.has_used(_POINTS_SHARE) else goal.at_most
            is_due = kept is None or bound <= kept or queue.taken >= next_ranking
            if self._scanned >= least_scanned and len(self._found) >= wanted and is_due:
                kept = self._rank_of(goal, wanted)
                if bound <= kept:
                    return bound
                pause = 0 if goal.is_partial else queue.taken // 2  # long where little is found in a block
                next_ranking = queue.taken + max(_BLOCKS_PER_RANKING, pause)
            queue.drop_first()
            if not self._tighten(number) and number in self._waiting:
                self._read(number, self._floor_ns(number, kept, guesses) if goal.is_partial else None)
            if number in self._waiting:
                queue.put_back(number)
        return _LEAST

    def _guesses(self, count: int) -> list[int]:
        """Durations, the longest first, that about twice `count` spans reach, and twice as many, and so on.

        Of the spans of a trace several are long, so that `count` spans are not as many traces.
        """
        bounds_ns = sorted(self._waiting.values(), reverse=True)
        places = takewhile(lambda place: place <= len(bounds_ns), (max(1, count) << shift for shift in range(1, 32)))
        return [bounds_ns[place - 1] for place in places]

    def _floor_ns(self, number: int, kept: Rank | None, guesses: Sequence[int]) -> int | None:
        """The least duration that matters in a block: that of the last of enough matches, or a guess at it."""
        if kept is not None:
            return kept[0]
        return next((guess_ns for guess_ns in guesses if guess_ns <= self._waiting[number]), None)

    def _rank_of(self, goal: _Goal, place: int) -> Rank:
        """The rank of the match at a place, from 1; that of the best one cannot be reached when the place is 0."""
        if not place:
            return _GREATEST
        ranks = map(goal.rank, self._found.values())
        return nlargest(place, ranks)[-1] if place < _FEW else sorted(ranks, reverse=True)[place - 1]

    def _may_hold(self, number: int) -> bool:
        """Whether the filter lets an unread block hold matching spans; one that it rules out is settled."""
        may_hold = self._sieve.may_contain(self._heads[number])
        if not may_hold:
            del self._waiting[number]
        return may_hold

    def _tighten(self, number: int) -> bool:
        """Look closer at an unread block before it is read; tells whether its bound has become less."""
        if number in self._close:
            return False
        self._close.add(number)
        self._snapshot.check()
        bound_ns = self._sieve.close_bound_ns(self._heads[number])
        if bound_ns is None:
            del self._waiting[number]
            return False
        is_less = bound_ns < self._waiting[number]
        self._waiting[number] = bound_ns
        return is_less

    def _cost_of(self, head: BlockHead) -> int:
        """How many spans are looked at to read a block."""
        count = head.entry_count if self._conditions.is_entry else head.span_count
        return count * _ATTRIBUTES_COST if self._has_attributes else count

    def _read(self, number: int, floor_ns: int | None = None) -> None:
        """Take in the matching spans of a block; with `floor_ns` only the traces of those that last as long."""
        self._snapshot.check()
        found = self._scan.matches(self._heads[number])
        self._scanned += self._cost_of(self._heads[number])
        if floor_ns is None or found is None:
            del self._waiting[number]
        if found is None:
            return
        block, rows = found
        if floor_ns is not None:
            long = set(picked(block.trace, at_least(rows, block.duration_ns, floor_ns)))
            rows = list(compress(rows, map(long.__contains__, picked(block.trace, rows))))
            self._waiting[number] = floor_ns - 1
        self._take(number, block, rows)

    def _take(self, number: int, block: Block, rows: Sequence[int]) -> None:
        """Take in spans of a block that meet the query."""
        durations = (-duration_ns for duration_ns in picked(block.duration_ns, rows))
        matches = zip(picked(block.start_ns, rows), durations, repeat(number), rows, strict=False)
        found, trace_ids = self._found, block.trace_ids
        for index, match in zip(picked(block.trace, rows), matches, strict=True):
            trace_id = trace_ids[16 * index : 16 * index + 16]
            if trace_id not in found or match < found[trace_id]:
                found[trace_id] = match
        self._is_broken_off |= len(found) > _MAX_TRACES

    def _resolve(self, trace_ids: Sequence[bytes]) -> bool:
        """Make sure of these traces by reading all of their spans, which are needed anyway."""
        unsure = [trace_id for trace_id in trace_ids if trace_id not in self._resolved]
        self._resolved |= spans_of(self._snapshot, unsure)
        for trace_id in unsure:
            held = [span for span in self._resolved[trace_id] if self._conditions.meets(span)]
            matched = min(held, key=lambda span: (span.start_ns, -span.duration_ns))
            self._found[trace_id] = (matched.start_ns, -matched.duration_ns, _RESOLVED, len(self._matched))
            self._matched.append(matched)
        return bool(unsure)

    def _read_behind(self, trace_ids: Sequence[bytes]) -> bool:
        """Make sure of these traces by looking for them in the blocks in which earlier spans of theirs may lie."""
        unsure = [trace_id for trace_id in trace_ids if trace_id not in self._certain]
        numbers = {number for segment in self._segments for number in self._behind(segment, unsure)}
        for number in numbers:
            self._tighten(number)
            if number in self._waiting:
                found = self._scan.matches(self._heads[number], unsure)
                if found is not None:
                    self._take(number, *found)
        self._certain.update(unsure)
        return bool(numbers)

    def _behind(self, segment: SegmentSnapshot, trace_ids: Sequence[bytes]) -> Iterator[int]:
        """The unread blocks of a segment that hold these traces, or may hold them and are not settled."""
        numbers = [number for number in self._waiting if self._heads[number].segment_id == segment.segment_id]
        if not numbers or not trace_ids:
            return
        heads = [self._heads[number] for number in numbers]
        index = BlockIndex(heads)
        starts_ns = {trace_id: self._found[trace_id][0] for trace_id in trace_ids}
        for trace_id, seqs in listed_bodies(segment, trace_ids, max(head.last_ns for head in heads)):
            for at in map(index.find, seqs):
                if at is not None and heads[at].first_ns <= starts_ns[trace_id]:
                    yield numbers[at]
        latest_ns = max(starts_ns.values())
        for number, head in zip(numbers, heads, strict=True):
            if head.block_id >= segment.first_unsettled_block and head.first_ns <= latest_ns:
                yield number


class _Queue:
    """The blocks with unread spans, the most promising first."""

    def __init__(self, numbers: Collection[int], bound: Callable[[int], Rank]) -> None:
        self.taken = 0
        self._bound = bound
        self._items = [self._item(number) for number in numbers]
        heapify(self._items)

    def first(self) -> int | None:
        """The most promising block; None when all were taken."""
        return self._items[0][2] if self._items else None

    def drop_first(self) -> None:
        """Take the first block out."""
        heappop(self._items)
        self.taken += 1

    def put_back(self, number: int) -> None:
        """Put a block back in whose bound has changed."""
        heappush(self._items, self._item(number))

    def _item(self, number: int) -> tuple[int, int, int]:
        first, second = self._bound(number)
        return -first, -second, number
