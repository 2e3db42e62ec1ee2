"""Folded stacks as a tree, and the endpoints they belong to."""

from __future__ import annotations

from dataclasses import replace

import pytest
from builders import SECOND
from runtime_records import PERIOD_NS, T0, make_log_batch, make_samples_record

from apm_analysis import profiles
from apm_analysis.profiles import OTHER, OWN_CODE, PYTHON, Frame, Profile, build_profile, endpoints
from apm_store.model import LogRecord
from apm_store.otlp_decode import decode_log_records

VIEW, STOCK = "/srv/shop/views.py:checkout:30", "/srv/shop/stock.py:reserve:41"
SQL = "sqlalchemy/orm/session.py:Session.execute:2351"
READ = "socket.py:SocketIO.readinto:718"


def records_of(*made: object, service: str = "shop") -> list[LogRecord]:
    """The records as the store gives them."""
    request = make_log_batch(made, service).request  # type: ignore[arg-type]
    return [record for _, record in decode_log_records(request)]


def profile_of(stacks: dict[str, int]) -> Profile:
    """The profile of one record."""
    profile = build_profile(records_of(make_samples_record(stacks)))
    assert profile is not None
    return profile


def shape(frame: Frame) -> tuple[str, int, int, list[object]]:
    """A frame as plain data: function, samples in itself, all samples, children."""
    return frame.function, frame.self_count, frame.total, [shape(child) for child in frame.children]


def test_equal_callers_are_merged_and_counts_add_up() -> None:
    """Stacks that begin alike share their frames; a frame's samples are its own and its children's."""
    profile = profile_of({f"{VIEW};{STOCK}": 3, f"{VIEW};{READ}": 5, VIEW: 2})

    assert shape(profile.root) == (
        "all",
        0,
        10,
        [("checkout", 2, 10, [("SocketIO.readinto", 5, 5, []), ("reserve", 3, 3, [])])],
    )


def test_records_are_merged() -> None:
    """Samples of several records are one tree, over as many requests as there are local roots."""
    records = records_of(
        make_samples_record({VIEW: 2}, trace=1, span=1, root=1, time_ns=T0),
        make_samples_record({f"{VIEW};{STOCK}": 1}, trace=1, span=2, root=1, time_ns=T0 + SECOND),
        make_samples_record({VIEW: 4}, trace=2, span=1, root=1, time_ns=T0 + 2 * SECOND),
    )

    profile = build_profile(records)

    assert profile is not None
    assert (profile.sample_count, profile.request_count, profile.period_ns) == (7, 2, PERIOD_NS)
    assert (profile.start_ns, profile.end_ns) == (T0, T0 + 2 * SECOND)


def test_a_frame_names_its_hottest_line() -> None:
    """One function is one frame, whatever line it was at; the line is where most samples were."""
    profile = profile_of({"/srv/a.py:work:10": 1, "/srv/a.py:work:12": 4})

    (frame,) = profile.root.children
    assert (frame.function, frame.file, frame.line, frame.total) == ("work", "/srv/a.py", 12, 5)


@pytest.mark.parametrize(
    ("name", "family"),
    [
        (VIEW, OWN_CODE),
        ("C:\\shop\\views.py:checkout:3", OWN_CODE),
        (SQL, "sqlalchemy"),
        ("six.py:wrap:3", "six"),
        (READ, PYTHON),
        ("json/decoder.py:decode:3", PYTHON),
        ("<frozen importlib._bootstrap>:_load:3", PYTHON),
        ("other", OTHER),
    ],
)
def test_a_frame_belongs_to_a_family(name: str, family: str) -> None:
    """Full paths are the app's own code; what is installed goes by its package, the standard library is Python."""
    assert profile_of({name: 1}).root.children[0].family == family


def test_small_frames_are_summed_up_and_counted() -> None:
    """Frames below 0.3 % of all samples become one frame below their caller, with their samples."""
    stacks = {f"{VIEW};{STOCK}": 996, f"{VIEW};/srv/a.py:one:1": 2, f"{VIEW};/srv/a.py:two:1;{READ}": 2}

    profile = profile_of(stacks)

    assert shape(profile.root.children[0]) == ("checkout", 0, 1000, [("reserve", 996, 996, []), (OTHER, 4, 4, [])])
    assert profile.summed_up == 3
    assert profile.smallest_share == pytest.approx(0.003)


def test_a_wide_tree_has_at_most_a_thousand_frames(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where more frames than are drawn would be left, the limit rises with them and the profile says it."""
    monkeypatch.setattr(profiles, "MAX_FRAMES", 5)

    profile = profile_of({f"/srv/a.py:f{number}:1": number for number in range(10, 30)})

    assert len(profile.root.children) <= 6
    assert profile.root.children[-1].function == OTHER
    assert profile.root.total == sum(range(10, 30))
    assert profile.smallest_share > 0.003


def test_the_hottest_function_and_who_runs_it() -> None:
    """It is the function with most samples in itself over all callers; its caller is the nearest own code."""
    stacks = {f"{VIEW};{STOCK};{SQL};{READ}": 6, f"{VIEW};{SQL};{READ}": 3, VIEW: 5}

    profile = profile_of(stacks)

    assert (profile.hottest.function, profile.hottest.self_count, profile.hottest.line) == ("SocketIO.readinto", 9, 718)
    assert profile.caller is not None
    assert (profile.caller.function, profile.caller.line) == ("reserve", 41)
    assert profile.families == ((PYTHON, 9), (OWN_CODE, 5), ("sqlalchemy", 0))


def test_own_code_has_no_caller() -> None:
    """A hot function of the app itself is named alone."""
    assert profile_of({VIEW: 5, f"{VIEW};{STOCK}": 9}).caller is None


def test_what_cannot_be_read_is_left_out() -> None:
    """Lines without a count, other bodies and other events hold no samples."""
    (good,) = records_of(make_samples_record({VIEW: 2}))
    bad = [replace(good, body=f"{VIEW}\n{VIEW} many\n\n 3"), replace(good, body=7), replace(good, event_name="x")]

    assert build_profile(bad) is None
    assert endpoints(bad) == []


def test_a_bottomless_stack_is_cut() -> None:
    """A stack deeper than any that is sent does not exhaust the interpreter's own."""
    assert profile_of({";".join(f"/a.py:f{n}:1" for n in range(5_000)): 1}).sample_count == 1


def test_endpoints_have_most_samples_first() -> None:
    """Samples go to service and outermost operation, with the requests and the time they stand for."""
    records = [
        *records_of(
            make_samples_record({VIEW: 2}, operation="GET /a", trace=1),
            make_samples_record({VIEW: 3}, operation="GET /b", trace=2),
            make_samples_record({VIEW: 4}, operation="GET /b", trace=3),
        ),
        *records_of(make_samples_record({VIEW: 1}, operation="GET /b", trace=4), service="stock"),
    ]

    found = [(one.service, one.operation, one.sample_count, one.request_count) for one in endpoints(records)]

    assert found == [("shop", "GET /b", 7, 2), ("shop", "GET /a", 2, 1), ("stock", "GET /b", 1, 1)]
    assert endpoints(records)[0].sampled_ns == 7 * PERIOD_NS
