"""Which configuration file is in use: the user's, a data directory's own, or the one that comes with Spanwise."""

from __future__ import annotations

from pathlib import Path

from spanwise.settings import Settings, default_config_file

OWN_NAME = "collector.yaml"
HISTORY_NAME = "config"


def config_paths(settings: Settings) -> list[Path]:
    """Where the configuration may stand; the first that is there is in use.

    It is the file that a flag or variable names. Without one it is `collector.yaml` in the data directory, and until
    somebody puts that there (as `spanwise config rollback` does), the file that comes with Spanwise.
    """
    if settings.config_file != default_config_file():
        return [settings.config_file]
    return [settings.data_dir / OWN_NAME, settings.config_file]


def config_in_use(settings: Settings) -> Path:
    """The configuration file in use; it need not be there when a flag or variable names it."""
    paths = config_paths(settings)
    return next((path for path in paths if path.exists()), paths[-1])
