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
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

from spanwise.data_dir import running_instance
from spanwise.settings import SETTINGS, Settings, SettingsError, add_flags, environment, load_settings

DEFAULT_ENDPOINT = "http://127.0.0.1:4318"


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
    parser.add_argument("--version", action="version", version=f"spanwise {version('spanwise')}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    command = commands.add_parser("up", help="start collector, store and UI", description=_UP)
    add_flags(command)
    command.set_defaults(command=_up)

    command = commands.add_parser("run", help="run a command instrumented", description=_RUN)
    _add_agent_flags(command)
    command.add_argument("argv", nargs=argparse.REMAINDER, metavar="-- CMD…", help="the command and its arguments")
    command.set_defaults(command=_run)

    command = commands.add_parser("env", help="print the variables that instrument an app", description=_ENV)
    _add_agent_flags(command)
    command.set_defaults(command=_env)

    command = commands.add_parser("demo", help="start the stack with a demo shop under load", description=_DEMO)
    add_flags(command)
    command.set_defaults(command=_demo)

    command = commands.add_parser("status", help="what is running and what has arrived", description=_STATUS)
    add_flags(command)
    command.add_argument("--json", action="store_true", help="print one JSON object")
    command.set_defaults(command=_status)

    command = commands.add_parser("doctor", help="why do I see nothing?", description=_DOCTOR)
    add_flags(command)
    command.set_defaults(command=_doctor)
    return parser


_UP = "Start the collector, the store and the UI as one group. Ctrl-C or SIGTERM drains and stops it."
_RUN = "Run any command instrumented: its spans, metrics and logs go to the collector on this machine."
_ENV = 'Print what `run` would set, for use as: eval "$(spanwise env)"'
_DEMO = "Start the stack, a small shop with seeded faults, and load on it, until Ctrl-C."
_STATUS = "Say what runs on a data directory, and what each service sent last."
_DOCTOR = "Check ports, data directory, instrumentations and variables, and say what keeps telemetry away."


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


def _run(args: argparse.Namespace) -> int:
    argv = args.argv[1:] if args.argv[:1] == ["--"] else args.argv
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
    from otel_agent.environment import agent_environment, service_name_of

    endpoint = args.endpoint
    if not endpoint:
        instance = running_instance(_settings(args).data_dir)
        endpoint = f"http://{instance.otlp_http}" if instance else DEFAULT_ENDPOINT
    return agent_environment(args.service or service_name_of(Path.cwd(), argv), endpoint, environment())


def _status(args: argparse.Namespace) -> int:
    from spanwise.status import print_status

    return print_status(_settings(args), as_json=args.json)


def _doctor(args: argparse.Namespace) -> int:
    from spanwise.doctor import print_diagnosis

    return print_diagnosis(_settings(args))
