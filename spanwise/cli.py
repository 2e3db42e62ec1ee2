"""The command `spanwise`.

A room is imported only inside the command that needs it, so that `run`, `env` and `doctor` work with the base install
in an application's own environment.
"""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from spanwise import config_command, instrument
from spanwise.agent_variables import agent_variables
from spanwise.files import commands as files
from spanwise.settings import SETTINGS, Settings, SettingsError, add_flags, environment, load_settings
from spanwise.version import VERSION


@dataclass(frozen=True, slots=True)
class Command:
    """One row of COMMANDS; `run` gives the exit status."""

    name: str
    help: str
    description: str
    add_arguments: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], int]


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; give its exit status: 0 done, 1 failed with one line on stderr, 2 wrong usage."""
    args = build_parser().parse_args(argv)
    try:
        status: int = args.command(args)
    except SettingsError as error:
        print(f"spanwise: {error}", file=sys.stderr)
        return 2
    except ModuleNotFoundError as error:
        if error.name and error.name.partition(".")[0] in {"spanwise", "apm_store", "apm_collector", "apm_ui"}:
            raise
        cure = "pip install 'spanwise[server]'"
        print(f"spanwise: this needs the server, and {error.name} is missing: {cure}", file=sys.stderr)
        return 1
    return status


def build_parser() -> argparse.ArgumentParser:
    """The parser of every command; its help is what docs/reference/commands.md shows."""
    parser = argparse.ArgumentParser(prog="spanwise", description="Local-first OpenTelemetry tracing and APM.")
    parser.add_argument("--version", action="version", version=f"spanwise {VERSION}")
    subparsers = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for one in COMMANDS:
        command = subparsers.add_parser(one.name, help=one.help, description=one.description)
        one.add_arguments(command)
        command.set_defaults(command=one.run)
    return parser


def _add_run_arguments(command: argparse.ArgumentParser) -> None:
    _add_agent_flags(command)
    command.add_argument("argv", nargs=argparse.REMAINDER, metavar="-- CMD…", help="the command and its arguments")


def _add_status_arguments(command: argparse.ArgumentParser) -> None:
    add_flags(command)
    command.add_argument("--json", action="store_true", help="print one JSON object")


def _add_doctor_arguments(command: argparse.ArgumentParser) -> None:
    add_flags(command)
    command.add_argument("argv", nargs=argparse.REMAINDER, metavar="-- CMD…", help="how you start your app")


def _add_agent_flags(command: argparse.ArgumentParser) -> None:
    command.add_argument("--service", metavar="NAME", help="the service's name; default: the project's")
    command.add_argument(
        "--endpoint", metavar="URL", help="where OTLP goes over HTTP; default: the Spanwise that runs, else port 4318"
    )
    data = next(setting for setting in SETTINGS if setting.name == "data_dir")
    command.add_argument(data.flag, dest=data.name, metavar=data.metavar, help="the data directory of that Spanwise")


def _settings(args: argparse.Namespace, *, data_name: str = "spanwise") -> Settings:
    return load_settings(vars(args), environment(), data_name=data_name)


def _up(args: argparse.Namespace) -> int:
    from spanwise.run import up

    return up(_settings(args))


def _demo(args: argparse.Namespace) -> int:
    from spanwise.demo import demo

    return demo(_settings(args, data_name="spanwise-demo"), has_own_slos=bool(args.slos_dir))


def _command_of(args: argparse.Namespace) -> list[str]:
    """The words after `--`."""
    argv: list[str] = args.argv
    return argv[1:] if argv[:1] == ["--"] else argv


def _run(args: argparse.Namespace) -> int:
    argv = _command_of(args)
    if not argv:
        print("spanwise: nothing to run. Write: spanwise run -- python app.py", file=sys.stderr)
        return 2
    program = shutil.which(argv[0])
    if program is None:
        print(f"spanwise: there is no command “{argv[0]}” on the PATH.", file=sys.stderr)
        return 127
    sys.stdout.flush()
    return os.execve(program, argv, environment() | _agent_variables(args, argv))  # noqa: S606  the user's command


def _env(args: argparse.Namespace) -> int:
    for key, value in _agent_variables(args, []).items():
        print(f"export {key}={shlex.quote(value)}")
    return 0


def _agent_variables(args: argparse.Namespace, argv: list[str]) -> dict[str, str]:
    data_dir = _settings(args).data_dir
    return agent_variables(data_dir, argv, environment(), service=args.service, endpoint=args.endpoint)


def _status(args: argparse.Namespace) -> int:
    from spanwise.status import print_status

    return print_status(_settings(args), as_json=args.json)


def _doctor(args: argparse.Namespace) -> int:
    from spanwise.doctor import print_diagnosis

    return print_diagnosis(_settings(args), _command_of(args))


COMMANDS: tuple[Command, ...] = (
    Command(
        "up",
        "start collector, store and UI",
        "Start the collector, the store and the UI as one group. Ctrl-C or SIGTERM drains and stops it.",
        add_flags,
        _up,
    ),
    Command(
        "run",
        "run a command instrumented",
        "Run any command instrumented: its spans, metrics and logs go to the collector on this machine.",
        _add_run_arguments,
        _run,
    ),
    Command(
        "env",
        "print the variables that instrument an app",
        'Print what `run` would set, for use as: eval "$(spanwise env)"',
        _add_agent_flags,
        _env,
    ),
    Command(
        "instrument",
        "what is traced in an app's environment",
        "List which libraries of an app's environment are traced and by what, or add what is missing for others.",
        instrument.add_instrument_arguments,
        instrument.instrument,
    ),
    Command(
        "demo",
        "start the stack with a demo shop under load",
        "Start the stack, a small shop with seeded faults, and load on it, until Ctrl-C.",
        add_flags,
        _demo,
    ),
    Command(
        "status",
        "what is running and what has arrived",
        "Say what runs on a data directory, and what each service sent last.",
        _add_status_arguments,
        _status,
    ),
    Command(
        "doctor",
        "why do I see nothing?",
        "Check ports, data directory, instrumentations and variables, and say what keeps telemetry away. "
        "After -- a command: then in the Python that it runs in.",
        _add_doctor_arguments,
        _doctor,
    ),
    Command(
        "config",
        "check, list or bring back the collector's configuration",
        "Check the collector's configuration, list what was accepted, and go back to it, also while it runs.",
        config_command.add_config_arguments,
        config_command.config,
    ),
    Command(
        "import",
        "read telemetry files into the store",
        "Read telemetry files, also compressed ones, into the store. The format is told from the content.",
        files.add_import_arguments,
        files.import_files,
    ),
    Command(
        "export",
        "write stored telemetry to a file",
        "Write stored telemetry as OTLP JSON lines, which `import` and the upstream Collector read, or as Parquet.",
        files.add_export_arguments,
        files.export_file,
    ),
    Command(
        "backup",
        "copy the store to a new directory",
        "Copy the store to a new directory, complete and consistent, also while Spanwise runs.",
        files.add_backup_arguments,
        files.backup,
    ),
    Command(
        "prune",
        "remove the oldest raw telemetry",
        "Remove the oldest raw telemetry for good, by the time of its receipt. "
        "Roll-ups (rates, errors, durations) stay.",
        files.add_prune_arguments,
        files.prune,
    ),
)
"""Every command, in the order of the help; this is the one place to add one."""
