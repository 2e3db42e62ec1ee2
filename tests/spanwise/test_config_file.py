"""Which configuration file is in use."""

from __future__ import annotations

from pathlib import Path

from spanwise.config_file import config_in_use, config_paths
from spanwise.settings import Settings, default_config_file


def settings_of(data_dir: Path, config_file: Path) -> Settings:
    """Settings with a data directory and a configuration file."""
    return Settings(data_dir, config_file, data_dir / "slos")


def test_a_named_file_is_in_use(tmp_path: Path) -> None:
    """Also while it is not there, and whatever lies in the data directory."""
    (tmp_path / "collector.yaml").touch()
    named = tmp_path / "mine.yaml"

    assert config_in_use(settings_of(tmp_path, named)) == named


def test_without_one_the_data_directory_may_have_its_own(tmp_path: Path) -> None:
    """It goes before the file that comes with Spanwise."""
    settings = settings_of(tmp_path, default_config_file())
    before = config_in_use(settings)

    (tmp_path / "collector.yaml").touch()

    assert before == default_config_file()
    assert config_in_use(settings) == tmp_path / "collector.yaml"
    assert config_paths(settings) == [tmp_path / "collector.yaml", default_config_file()]
