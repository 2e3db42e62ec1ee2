"""The parts as somebody beyond this machine meets them, and what they leave on disk."""

from __future__ import annotations

import os
import re
import shutil
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from builders import make_request, make_span
from stack import Stack, fetch, wait_for

BODY = make_request([make_span("op")]).SerializeToString()
EXPORT = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
ADDRESS = "127.0.0.1"


@pytest.fixture(scope="module")
def exposed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A stack that is open on all addresses."""
    with Stack(tmp_path_factory.mktemp("exposed"), "--host", "0.0.0.0").start() as stack:
        yield stack


def _token(stack: Stack) -> str:
    return (stack.data_dir / "token").read_text().strip()


def _bearer(stack: Stack) -> dict[str, str]:
    return {"Authorization": f"Bearer {_token(stack)}"}


def _export(stack: Stack, metadata: list[tuple[str, str]]) -> grpc.StatusCode:
    with grpc.insecure_channel(f"{ADDRESS}:{stack.grpc_port}") as channel:
        try:
            channel.unary_unary(EXPORT)(BODY, timeout=20, metadata=metadata)
        except grpc.RpcError as error:
            code: grpc.StatusCode = error.code()
            return code
    return grpc.StatusCode.OK


@pytest.mark.parametrize("path", ["/v1/traces", "/v1/logs", "/healthz", "/metrics", "/control/prune", "/nowhere"])
def test_an_open_collector_answers_only_with_the_token(exposed: Stack, path: str) -> None:
    """Every path of OTLP/HTTP, known or not, is 401 without the token; the API of the UI as well."""
    status, body = fetch(exposed.otlp + path, BODY if "v1" in path else None)

    assert status == 401
    assert _token(exposed).encode() not in body
    assert fetch(exposed.ui + "/api/v1/services")[0] == 401


def test_the_token_opens_both_protocols(exposed: Stack) -> None:
    """With it spans are taken over HTTP and gRPC; without or with another one gRPC says UNAUTHENTICATED."""
    headers = {"Content-Type": "application/x-protobuf"} | _bearer(exposed)

    assert fetch(exposed.otlp + "/v1/traces", BODY, headers)[0] == 200
    assert _export(exposed, [("authorization", f"Bearer {_token(exposed)}")]) == grpc.StatusCode.OK
    assert _export(exposed, []) == grpc.StatusCode.UNAUTHENTICATED
    assert _export(exposed, [("authorization", "Bearer wrong")]) == grpc.StatusCode.UNAUTHENTICATED


def test_status_and_doctor_find_the_token_themselves(exposed: Stack) -> None:
    """Commands on this machine read the token's file."""
    commands = [[exposed.argv[0], name, "--data", str(exposed.data_dir)] for name in ("status", "doctor")]

    status, doctor = (subprocess.run(one, capture_output=True, text=True, check=False) for one in commands)

    assert (status.returncode, "down" in status.stdout) == (0, False)
    assert "every request needs the token" in doctor.stdout
    assert _token(exposed) not in status.stdout + doctor.stdout


@pytest.mark.skipif(shutil.which("ss") is None, reason="ss is not there")
def test_by_default_only_loopback_listens(tmp_path: Path) -> None:
    """All three ports are bound to 127.0.0.1 and to nothing else."""
    with Stack(tmp_path).start() as stack:
        lines = subprocess.run(["ss", "-Hltn"], capture_output=True, text=True, check=True).stdout.splitlines()
        ports = {str(port) for port in (stack.ui_port, stack.http_port, stack.grpc_port)}
        bound = [line.split()[3].rpartition(":") for line in lines if line.split()[3].rpartition(":")[2] in ports]

    assert {port for _, _, port in bound} == ports
    assert {host for host, _, _ in bound} <= {"127.0.0.1", "[::ffff:127.0.0.1]"}


@pytest.mark.parametrize("umask", ["000", "077"])
def test_everything_in_the_data_directory_is_for_its_owner(tmp_path: Path, umask: str) -> None:
    """After a run that stored spans every file is 0600 and every directory 0700, whatever the umask."""
    stack = Stack(tmp_path / "data")
    stack.argv = ["sh", "-c", f'umask {umask} && exec "$@"', "sh", *stack.argv]
    with stack.start():
        assert stack.send("traces", BODY)[0] == 200
        during = _open_to_others(stack.data_dir)

    assert (during, _open_to_others(stack.data_dir)) == ([], [])
    assert len(list(stack.data_dir.iterdir())) >= 2


def _open_to_others(directory: Path) -> list[str]:
    paths = [directory, *directory.rglob("*")]
    return [f"{path} {stat.S_IMODE(path.lstat().st_mode):o}" for path in paths if path.lstat().st_mode & 0o077]


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not there")
def test_nothing_is_sent_outward(tmp_path: Path) -> None:
    """From start to stop, with spans stored and pages asked, no part connects to anything but this machine."""
    log, stack = tmp_path / "strace.log", Stack(tmp_path / "data")
    stack.argv = ["strace", "-D", "-f", "-q", "-e", "trace=connect,sendto", "-o", str(log), *stack.argv]
    with stack.start():
        assert stack.send("traces", BODY)[0] == 200
        assert fetch(stack.ui + "/")[0] == fetch(stack.ui + "/api/v1/services")[0] == 200

    ended = rf"(?m)^{stack.process.pid} +\+\+\+ exited"
    wait_for(lambda: re.search(ended, log.read_text()), 10, "strace has written all it saw")
    inward = re.compile(r'sin_addr=inet_addr\("127\.|sin6_addr, ?"::1"|inet_pton\(AF_INET6, "::1"|AF_UNIX|AF_NETLINK')
    calls = [line for line in log.read_text().splitlines() if "AF_" in line]
    assert [line for line in calls if not inward.search(line)] == []


@pytest.mark.skipif(os.geteuid() != 0 or shutil.which("unshare") is None, reason="it needs root and unshare")
def test_it_runs_where_there_is_no_network(tmp_path: Path) -> None:
    """With loopback alone the stack starts, stores and answers."""
    test = tmp_path / "run.py"
    test.write_text(
        "import sys; from pathlib import Path; from stack import Stack, fetch\n"
        f"with Stack(Path({str(tmp_path / 'data')!r})).start() as stack:\n"
        "    print(fetch(stack.ui + '/healthz')[0], fetch(stack.otlp + '/healthz')[0])\n"
    )
    inside = f"ip link set lo up 2>/dev/null; exec {sys.executable} {test}"
    argv = ["unshare", "-n", "env", f"PYTHONPATH={os.pathsep.join(sys.path)}", "sh", "-c", inside]

    result = subprocess.run(argv, capture_output=True, text=True, check=False)

    assert result.stdout.split() == ["200", "200"], result.stderr


def test_a_token_that_others_can_read_stops_the_start(tmp_path: Path) -> None:
    """The start ends in one line with the cure; no port is opened."""
    (tmp_path / "token").write_text("x" * 40)
    (tmp_path / "token").chmod(0o644)
    stack = Stack(tmp_path, "--host", "0.0.0.0")

    result = subprocess.run(stack.argv, capture_output=True, text=True, timeout=30, check=False)

    assert (result.returncode, result.stderr.count("\n"), "chmod 600" in result.stderr) == (1, 1, True)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((ADDRESS, stack.ui_port), timeout=1)


def test_auth_none_opens_the_ports(tmp_path: Path) -> None:
    """Who says that the network is trusted is asked for nothing, and no token is made."""
    with Stack(tmp_path, "--host", "0.0.0.0", "--auth", "none").start() as stack:
        statuses = [stack.send("traces", BODY)[0], fetch(stack.ui + "/healthz")[0]]

    assert (statuses, (tmp_path / "token").exists()) == ([200, 200], False)
