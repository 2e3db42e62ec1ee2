"""The variables that `spanwise run` gives to a command: the agent's, and where the Spanwise that runs is reached."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from spanwise.access import reachable, with_token
from spanwise.data_dir import running_instance

DEFAULT_ENDPOINT = "http://127.0.0.1:4318"


def agent_variables(
    data_dir: Path,
    argv: Sequence[str],
    base: Mapping[str, str],
    *,
    service: str | None = None,
    endpoint: str | None = None,
) -> dict[str, str]:
    """What is added to the environment `base` so that `argv` is traced.

    Unless they are given, the service is named after the project, and the endpoint is that of the Spanwise on
    `data_dir` if one runs.
    """
    from otel_agent.environment import agent_environment, service_name_of

    name = service or service_name_of(Path.cwd(), argv)
    instance = running_instance(data_dir)
    if endpoint or instance is None:
        return agent_environment(name, endpoint or DEFAULT_ENDPOINT, base)
    return with_token(agent_environment(name, f"http://{reachable(instance.otlp_http)}", base), base, data_dir)
