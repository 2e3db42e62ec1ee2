"""The commands that move telemetry between files and the store, as the command line knows them."""

from __future__ import annotations

import argparse

from spanwise.files.moments import parse_duration, parse_moment, parse_size
from spanwise.settings import SETTINGS, Settings, environment, load_settings

IMPORT_FORMATS = ("otlp-json", "otlp-jsonl", "otlp-protobuf", "jaeger-json", "zipkin-json")


def add_import_arguments(command: argparse.ArgumentParser) -> None:
    """Give `spanwise import` its arguments."""
    command.add_argument("files", nargs="+", metavar="FILE", help="a file, or - for the standard input")
    command.add_argument("--format", choices=IMPORT_FORMATS, help="the format, where the content does not tell it")
    _add_flags(command, "data_dir", "config_file", "max_bytes", "max_age_s")


def add_export_arguments(command: argparse.ArgumentParser) -> None:
    """Give `spanwise export` its arguments."""
    command.add_argument("--signal", choices=("traces", "metrics", "logs", "all"), default="all", help="default: all")
    command.add_argument("--from", dest="from_ns", type=parse_moment, metavar="TIME", help="2026-11-01, or 2h for ago")
    command.add_argument(
        "--to", dest="to_ns", type=parse_moment, metavar="TIME", help="up to, and without, this moment"
    )
    command.add_argument("--trace", metavar="ID", help="one trace, with its log records")
    command.add_argument("--format", choices=("jsonl", "parquet"), default="jsonl", help="default: jsonl")
    command.add_argument("-o", "--output", metavar="FILE", help="default: the standard output")
    command.add_argument("--force", action="store_true", help="replace FILE if it is there")
    _add_flags(command, "data_dir")


def add_backup_arguments(command: argparse.ArgumentParser) -> None:
    """Give `spanwise backup` its arguments."""
    command.add_argument("directory", metavar="DIR", help="a directory that does not exist yet")
    _add_flags(command, "data_dir")


def add_prune_arguments(command: argparse.ArgumentParser) -> None:
    """Give `spanwise prune` its arguments."""
    how = command.add_mutually_exclusive_group(required=True)
    before = "all received before: 2026-11-01"
    how.add_argument("--before", dest="before_ns", type=parse_moment, metavar="TIME", help=before)
    older = "all received longer ago: 7d"
    how.add_argument("--older-than", dest="older_than_ns", type=parse_duration, metavar="AGE", help=older)
    how.add_argument("--to", dest="to_bytes", type=parse_size, metavar="SIZE", help="until the store takes: 2GB")
    command.add_argument("--yes", action="store_true", help="do not ask")
    _add_flags(command, "data_dir", "max_bytes", "max_age_s")


def _add_flags(command: argparse.ArgumentParser, *names: str) -> None:
    """Give a command the flags of some settings."""
    for setting in SETTINGS:
        if setting.name in names:
            text = f"{setting.help} [{setting.variable}]"
            command.add_argument(setting.flag, dest=setting.name, metavar=setting.metavar, help=text)


def _settings(args: argparse.Namespace) -> Settings:
    return load_settings(vars(args), environment())


def import_files(args: argparse.Namespace) -> int:
    """Run `spanwise import`; give its exit status."""
    from spanwise.files.import_command import run_import

    return run_import(_settings(args), args)


def export_file(args: argparse.Namespace) -> int:
    """Run `spanwise export`; give its exit status."""
    from spanwise.files.export_command import run_export

    return run_export(_settings(args), args)


def backup(args: argparse.Namespace) -> int:
    """Run `spanwise backup`; give its exit status."""
    from spanwise.files.backup_command import run_backup

    return run_backup(_settings(args), args)


def prune(args: argparse.Namespace) -> int:
    """Run `spanwise prune`; give its exit status."""
    from spanwise.files.prune_command import run_prune

    return run_prune(_settings(args), args)
