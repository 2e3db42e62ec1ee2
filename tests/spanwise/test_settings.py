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
}


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: setting.name)
def test_a_flag_wins_over_its_variable(setting: object) -> None:
    """For every setting the flag is taken where both are given, and the variable where the flag is not."""
    name, variable = setting.name, setting.variable  # type: ignore[attr-defined]
    flag_value, variable_value = EXAMPLES.get(name, ("6001", "6002"))

    by_flag = load_settings({name: flag_value}, {variable: variable_value})
    by_variable = load_settings({}, {variable: variable_value})

    assert str(getattr(by_flag, name)) == flag_value
    assert str(getattr(by_variable, name)) == variable_value


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


def test_settings_travel_as_json() -> None:
    """What the supervisor hands a part on its command line is what the part reads."""
    settings = Settings(Path("/a b"), Path("/c"), Path("/ü"), otlp_http_port=4318)

    assert Settings.from_json(settings.to_json()) == settings


def test_every_setting_is_a_flag_with_help() -> None:
    """Each row of the table is a flag whose help names its variable."""
    parser = argparse.ArgumentParser()
    add_flags(parser)

    text = parser.format_help()

    assert not [setting.flag for setting in SETTINGS if setting.flag not in text]
    assert not [setting.variable for setting in SETTINGS if setting.variable not in text]
