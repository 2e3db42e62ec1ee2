"""`spanwise demo`: the stack, and a small shop under load that is instrumented like any user's app."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

from otel_agent.environment import agent_environment
from spanwise.access import with_token
from spanwise.run import has_demo, up
from spanwise.settings import Settings, environment
from spanwise.supervisor import Part


def demo(settings: Settings, *, has_own_slos: bool) -> int:
    """Run stack and shop until Ctrl-C; give the exit status. Without other objectives the shop's own are used."""
    if not has_demo():
        print(
            "spanwise: the demo shop is not part of the installed package; it lives in the source checkout, where "
            "`make demo` starts it. To see your own app: spanwise up, then spanwise run -- python app.py",
            file=sys.stderr,
        )
        return 1
    if not has_own_slos:
        settings = replace(settings, slos_dir=_shop_dir() / "slo")
    return up(settings, shop_parts, welcome="The demo shop is under load; first traces are there within seconds.")


def shop_parts(settings: Settings) -> list[Part]:
    """The shop's processes, each with its service name, sending to the stack of these settings."""
    sys.path.insert(0, str(_shop_dir().parent))
    from demo_app.processes import processes

    endpoint = f"http://{settings.host}:{settings.otlp_http_port}"
    base = environment() | {"PYTHONPATH": str(_shop_dir().parent)}
    parts = []
    for process in processes(sys.executable, settings.data_dir / "shop"):
        env = base | process.env
        if process.name != "load":  # the load generator stands for browsers, which are not ours to trace
            env |= with_token(agent_environment(process.name, endpoint, env), env, settings.data_dir)
        parts.append(Part(process.name, process.argv, env, reports_ready=False))
    return parts


def _shop_dir() -> Path:
    return Path(__file__).parents[1] / "demo_app"
