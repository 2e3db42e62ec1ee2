"""`spanwise doctor` on exposure and on what the store says."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from apm_store.open import open_store
from apm_store.query import StoreNotice
from spanwise import status
from spanwise.access import port_token
from spanwise.data_dir import Instance, claimed
from spanwise.doctor import Check, diagnose
from spanwise.settings import Settings


@pytest.fixture
def exposed(tmp_path: Path) -> Iterator[Settings]:
    """Settings whose data directory is held by an instance on all addresses; its ports are closed."""
    settings = Settings(tmp_path / "data", tmp_path / "c.yaml", tmp_path / "slos", host="0.0.0.0")
    with claimed(settings.data_dir, Instance(7, "0.0.0.0:9", "0.0.0.0:9", "0.0.0.0:9")):
        yield settings


def _about(checks: list[Check], words: str) -> Check:
    return next(check for check in checks if words in check.finding)


def test_open_ports_with_a_token_are_fine(exposed: Settings) -> None:
    """The doctor says that the ports are open and where the token is, not what it is."""
    token = port_token(exposed)

    check = _about(list(diagnose(exposed, {})), "ports are open on 0.0.0.0")

    assert check.state == "ok"
    assert str(exposed.data_dir / "token") in check.finding
    assert token not in check.finding


def test_open_ports_without_a_token_are_a_warning(exposed: Settings) -> None:
    """Who switched the token off is reminded of what that rests on."""
    check = _about(list(diagnose(replace(exposed, auth="none"), {})), "ask for no token")

    assert (check.state, "--auth none" in check.cure) == ("warn", True)


def test_notices_of_the_store_are_findings(exposed: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is critical fails the diagnosis, a warning warns; the doctor reads it also when nothing runs."""
    store = open_store(exposed.data_dir)
    notices = (StoreNotice(1, "critical", "The disk is full."), StoreNotice(1, "warn", "a.db was set aside."))
    health = asdict(replace(store.health(), notices=notices))
    store.close()
    monkeypatch.setattr("spanwise.doctor.read_health", lambda _data_dir: {"status": "ok"} | health)

    checks = list(diagnose(exposed, {}))

    assert status.read_health(exposed.data_dir)["notices"] == ()
    assert (_about(checks, "The disk is full.").state, _about(checks, "a.db was set aside.").state) == ("fail", "warn")
