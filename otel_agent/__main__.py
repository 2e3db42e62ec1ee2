"""`python -m otel_agent CMD…` runs any command instrumented, for those who do not have the `spanwise` command."""

import os
import shutil
import sys
from pathlib import Path

from otel_agent.environment import agent_environment, service_name_of
from otel_agent.settings import process_environment

_ENDPOINT = "http://127.0.0.1:4318"


def main(argv: list[str]) -> int:
    """Replace this process by the command `argv`, instrumented; return 127 or 2 with one line when that cannot be."""
    if not argv:
        sys.stderr.write("usage: python -m otel_agent COMMAND [ARGUMENT …]\n")
        return 2
    environment = process_environment()
    program = shutil.which(argv[0])
    if program is None:
        sys.stderr.write(f"otel_agent: there is no command {argv[0]!r} on the PATH\n")
        return 127
    environment.update(agent_environment(service_name_of(Path.cwd(), argv), _ENDPOINT, environment))
    sys.stdout.flush()
    return os.execve(program, argv, environment)  # noqa: S606 - running the user's command is the point


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
