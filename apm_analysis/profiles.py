"""Records of stack samples → a tree of frames with counts, and the endpoints that were sampled."""

from __future__ import annotations

import re
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from apm_store.model import LogRecord

EVENT_NAME = "profile.samples"
OWN_CODE, PYTHON, OTHER = "your code", "Python", "other"
# Narrower frames cannot be told apart, and more of them make a page slow.
SMALLEST_SHARE = 0.003
MAX_FRAMES = 1_000
_MAX_DEPTH = 128
_PERIOD_NS = 1_000_000_000 // 49
_STACK = re.compile(r"(.+) (\d{1,12})", re.ASCII)
_ABSOLUTE = re.compile(r"/|[A-Za-z]:[\\/]|\\\\")


@dataclass(frozen=True, slots=True)
class Frame:
    """A function where samples were taken, below the one that called it; `line` is where most of them were.

    `total` counts the samples in it and in what it called, `self_count` those in itself. The frame OTHER with no file
    stands for what was summed up.
    """

    function: str
    file: str
    line: int
    self_count: int
    total: int
    children: tuple[Frame, ...] = ()

    @property
    def family(self) -> str:
        """What the function belongs to: OWN_CODE, PYTHON, or the name of a package."""
        return _family(self.file)


@dataclass(frozen=True, slots=True)
class Profile:
    """The samples of some requests. `root` stands for all of them; times in ns.

    `families` (name, samples in its functions themselves) are most first; `hottest` is the function that most samples
    were in, over all its callers, and `caller` the nearest function of the app's own code that it mostly ran under,
    None where it is own code itself or there is none.
    `summed_up` frames below `smallest_share` of all samples are in frames OTHER.
    """

    root: Frame
    request_count: int
    period_ns: int
    start_ns: int
    end_ns: int
    families: tuple[tuple[str, int], ...]
    hottest: Frame
    caller: Frame | None
    summed_up: int
    smallest_share: float

    @property
    def sample_count(self) -> int:
        """All samples."""
        return self.root.total


@dataclass(frozen=True, slots=True)
class Endpoint:
    """The samples of the requests of one operation, the outermost in its service."""

    service: str
    operation: str
    sample_count: int
    request_count: int
    sampled_ns: int


def endpoints(records: Iterable[LogRecord]) -> list[Endpoint]:
    """The operations that samples were taken in, most samples first."""
    samples: Counter[tuple[str, str]] = Counter()
    sampled_ns: Counter[tuple[str, str]] = Counter()
    requests: dict[tuple[str, str], set[str]] = {}
    for record in records:
        key, sample_count = endpoint_key(record), sum(stack_count for _, stack_count in _stacks(record))
        if sample_count:
            samples[key] += sample_count
            sampled_ns[key] += sample_count * _period_ns(record)
            requests.setdefault(key, set()).add(_request_id(record))
    return [Endpoint(*key, number, len(requests[key]), sampled_ns[key]) for key, number in samples.most_common()]


def endpoint_key(record: LogRecord) -> tuple[str, str]:
    """Service and outermost operation that a record of samples belongs to."""
    name = record.attributes.get("local_root.name") or record.attributes.get("span.name")
    return record.service, name if isinstance(name, str) else ""


def build_profile(records: Sequence[LogRecord]) -> Profile | None:
    """All samples of some records as one tree; None when there is none."""
    root, sampled = _Node("all", "", 0), []
    for record in records:
        before = root.total
        for stack, stack_count in _stacks(record):
            _add(root, stack, stack_count)
        if root.total > before:
            sampled.append(record)
    if not sampled:
        return None
    totals = sorted((node.total for node in _walk(root)), reverse=True)
    smallest = root.total * SMALLEST_SHARE
    if len(totals) > MAX_FRAMES:
        smallest = max(smallest, totals[MAX_FRAMES] + 1)
    hottest, caller = _hottest(root)
    frame, summed_up = _bounded(root, smallest)
    return Profile(
        root=frame,
        request_count=len({_request_id(record) for record in sampled}),
        period_ns=_period_ns(sampled[0]),
        start_ns=min(record.time_ns for record in sampled),
        end_ns=max(record.time_ns for record in sampled),
        families=_families(root),
        hottest=hottest,
        caller=caller,
        summed_up=summed_up,
        smallest_share=smallest / root.total,
    )


@dataclass(slots=True)
class _Node:
    function: str
    file: str
    self_count: int
    total: int = 0
    lines: Counter[int] = field(default_factory=Counter)
    children: dict[tuple[str, str], _Node] = field(default_factory=dict)


def _stacks(record: LogRecord) -> Iterator[tuple[list[str], int]]:
    """The folded stacks of a record, outermost frame first, and how many samples had each."""
    if record.event_name != EVENT_NAME or not isinstance(record.body, str):
        return
    for line in record.body.splitlines():
        found = _STACK.fullmatch(line)
        if found:
            yield found[1].split(";")[:_MAX_DEPTH], int(found[2])


def _add(root: _Node, stack: Sequence[str], stack_count: int) -> None:
    node = root
    node.total += stack_count
    for name in stack:
        file, function, line = _parse(name)
        found = node.children.get((file, function))
        if found is None:
            found = node.children[file, function] = _Node(function, file, 0)
        node = found
        node.total += stack_count
        node.lines[line] += stack_count
    node.self_count += stack_count


def _parse(name: str) -> tuple[str, str, int]:
    """File, function and line of "file:function:line"; what has no such form is a function of no file."""
    parts = name.rsplit(":", 2)
    if len(parts) == 3 and parts[2].isdecimal():
        return parts[0], parts[1], int(parts[2][:9])
    return "", name, 0


def _walk(node: _Node) -> Iterator[_Node]:
    for child in node.children.values():
        yield child
        yield from _walk(child)


def _families(root: _Node) -> tuple[tuple[str, int], ...]:
    """Every family in the tree and the samples in its functions themselves, most first; then by those below them."""
    own: Counter[str] = Counter()
    seen: Counter[str] = Counter()
    for node in _walk(root):
        own[_family(node.file)] += node.self_count
        seen[_family(node.file)] += node.total
    return tuple(sorted(own.items(), key=lambda item: (-item[1], -seen[item[0]], item[0])))


def _hottest(root: _Node) -> tuple[Frame, Frame | None]:
    """The function with most samples in itself, and the own code that it mostly ran under."""
    samples: Counter[tuple[str, str]] = Counter()
    lines: dict[tuple[str, str], Counter[int]] = {}
    callers: dict[tuple[str, str], Counter[tuple[str, str, int]]] = {}
    for node, caller in _walk_with_caller(root, None):
        if node.self_count:
            key = node.file, node.function
            samples[key] += node.self_count
            lines.setdefault(key, Counter()).update(node.lines)
            if caller is not None:
                callers.setdefault(key, Counter())[caller.file, caller.function, _line(caller)] += node.self_count
    (file, function), self_count = max(samples.items(), key=lambda item: (bool(item[0][0]), item[1]))
    line = lines[file, function].most_common(1)[0][0]
    hottest = Frame(function, file, line, self_count, self_count)
    found = callers.get((file, function))
    if not found or hottest.family == OWN_CODE:
        return hottest, None
    (caller_file, caller_function, caller_line), total = found.most_common(1)[0]
    return hottest, Frame(caller_function, caller_file, caller_line, 0, total)


def _walk_with_caller(node: _Node, caller: _Node | None) -> Iterator[tuple[_Node, _Node | None]]:
    """Every frame below `node` with the nearest frame of own code above it."""
    for child in node.children.values():
        yield child, caller
        yield from _walk_with_caller(child, child if _family(child.file) == OWN_CODE else caller)


def _line(node: _Node) -> int:
    return node.lines.most_common(1)[0][0] if node.lines else 0


def _bounded(node: _Node, smallest: float) -> tuple[Frame, int]:
    """The tree from `node` on without frames of fewer than `smallest` samples, and how many those were."""
    children, small, summed_up = [], [], 0
    for child in node.children.values():
        if child.total < smallest:
            small.append(child)
        else:
            frame, below = _bounded(child, smallest)
            children.append(frame)
            summed_up += below
    children.sort(key=lambda frame: (-frame.total, frame.function))
    if small:
        left = sum(child.total for child in small)
        summed_up += sum(1 + sum(1 for _ in _walk(child)) for child in small)
        children.append(Frame(OTHER, "", 0, left, left))
    return Frame(node.function, node.file, _line(node), node.self_count, node.total, tuple(children)), summed_up


def _family(file: str) -> str:
    if not file:
        return OTHER
    if file.startswith("<"):
        return PYTHON
    if _ABSOLUTE.match(file):
        return OWN_CODE
    package = re.split(r"[\\/]", file, maxsplit=1)[0].removesuffix(".py")
    return PYTHON if package in sys.stdlib_module_names else package


def _request_id(record: LogRecord) -> str:
    root_id = record.attributes.get("local_root.span_id")
    return f"{record.trace_id}{root_id if isinstance(root_id, str) else record.span_id}"


def _period_ns(record: LogRecord) -> int:
    period_ns = record.attributes.get("profile.sample.period_ns")
    return period_ns if isinstance(period_ns, int) and 0 < period_ns < 10**12 else _PERIOD_NS
