"""Flags win over variables, variables over defaults; a bad value is named."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from spanwise.settings import SETTINGS, Settings, SettingsError, add_flags, load_settings

EXAMPLES = {
    "data_dir": ("/d", "/e"),
    "config_file": ("/c.yaml", "/d.yaml"),
    "slos_dir": ("/s", "/t"),
    "host": ("127.0.0.2", "127.0.0.3"),
    "auth": ("none", "token"),
    "max_bytes": ("800000000", "900000000"),
    "max_age_s": ("7200 s", "90000 s"),
}


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: setting.name)
def test_a_flag_wins_over_its_variable(setting: object) -> None:
    """For every setting the flag is taken where both are given, and the variable where the flag is not."""
    name, variable = setting.name, setting.variable  # type: ignore[attr-defined]
    flag_value, variable_value = EXAMPLES.get(name, ("6001", "6002"))

    by_flag = load_settings({name: flag_value}, {variable: variable_value})
    by_variable = load_settings({}, {variable: variable_value})

    assert str(getattr(by_flag, name)) == flag_value.removesuffix(" s")
    assert str(getattr(by_variable, name)) == variable_value.removesuffix(" s")


def test_defaults_are_local(tmp_path: Path) -> None:
    """Without flags and variables everything is on loopback and in the user's own data directory."""
    settings = load_settings({}, {"XDG_DATA_HOME": str(tmp_path)})

    assert settings.host == "127.0.0.1"
    assert settings.ui_port == 5000
    assert settings.data_dir == tmp_path / "spanwise"
    assert settings.slos_dir == tmp_path / "spanwise" / "slos"
    assert settings.config_file.exists()


@pytest.mark.parametrize("value", ["0", "65536", "-1", "http", "5000.5", ""])
def test_a_bad_port_is_named_with_its_flag(value: str) -> None:
    """A port that is none says which flag has which value; an empty one counts as not given."""
    if not value:
        assert load_settings({"ui_port": value}, {}).ui_port == 5000
        return
    with pytest.raises(SettingsError, match="--ui-port is “" + value):
        load_settings({"ui_port": value}, {})


def test_auth_is_token_or_none() -> None:
    """Tokens are asked for by default, and a mistyped word does not switch them off."""
    assert load_settings({}, {}).auth == "token"
    with pytest.raises(SettingsError, match="--auth is “off”; it is token or none"):
        load_settings({}, {"SPANWISE_AUTH": "off"})


@pytest.mark.parametrize(
    ("size", "max_bytes"), [("5GB", 5_000_000_000), ("800 MB", 800_000_000), ("1GiB", 2**30), ("50MB", 50_000_000)]
)
def test_a_budget_is_a_size(size: str, max_bytes: int) -> None:
    """Sizes are taken as people write them; without one the store settles its budget itself."""
    assert load_settings({"max_bytes": size}, {}).max_bytes == max_bytes
    assert load_settings({}, {}).max_bytes is None


@pytest.mark.parametrize(("age", "max_age_s"), [("30d", 30 * 86_400), ("12h", 12 * 3600), ("60min", 3600)])
def test_an_age_is_a_duration(age: str, max_age_s: int) -> None:
    """Ages are taken as people write them; without one nothing is removed for its age."""
    assert load_settings({}, {"SPANWISE_MAX_AGE": age}).max_age_s == max_age_s
    assert load_settings({}, {}).max_age_s is None


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("max_bytes", "lots", "--max-bytes: “lots” is no size; write 500MB"),
        ("max_bytes", "-5GB", "--max-bytes: “-5GB” is no size"),
        ("max_bytes", "5", "--max-bytes is “5”; it is from 50MB to 1000TB"),
        ("max_bytes", "999999999TB", "it is from 50MB to 1000TB"),
        ("max_age_s", "30", "--max-age: “30” is no duration; write 90s"),
        ("max_age_s", "0d", "--max-age is “0d”; raw telemetry stays 1h at least"),
        ("max_age_s", "forever", "--max-age: “forever” is no duration"),
    ],
)
def test_a_bound_that_cannot_be_is_named(name: str, value: str, words: str) -> None:
    """The message has the flag, the value and what to write, wherever the value came from."""
    variable = next(setting.variable for setting in SETTINGS if setting.name == name)

    for flags, variables in (({name: value}, {}), ({}, {variable: value})):
        with pytest.raises(SettingsError) as error:
            load_settings(flags, variables)
        assert words in str(error.value)


def test_settings_travel_as_json() -> None:
    """What the supervisor hands a part on its command line is what the part reads."""
    settings = Settings(
        Path("/a b"), Path("/c"), Path("/ü"), otlp_http_port=4318, max_bytes=800_000_000, max_age_s=3600
    )

    assert Settings.from_json(settings.to_json()) == settings


def test_every_setting_is_a_flag_with_help() -> None:
    """Each row of the table is a flag whose help names its variable."""
    parser = argparse.ArgumentParser()
    add_flags(parser)

    text = parser.format_help()

    assert not [setting.flag for setting in SETTINGS if setting.flag not in text]
    assert not [setting.variable for setting in SETTINGS if setting.variable not in text]
