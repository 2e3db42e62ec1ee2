"""The shop's processes as data, and as real processes that start, serve and stop."""

import contextlib
import os
import re
import select
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from demo_app.processes import Ports, free_ports, processes

ROOT = Path(__file__).parents[2]


@pytest.fixture
def start():
    """Starts Python processes and makes sure that none outlives the test."""
    started = []

    def run(argv, env):
        process = subprocess.Popen(
            argv, env=os.environ | env, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        started.append(process)
        return process

    yield run
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate()


def stop_seconds(process):
    """How long the process takes to end after SIGTERM, in seconds."""
    begin = time.monotonic()
    process.send_signal(signal.SIGTERM)
    process.wait(10)
    return time.monotonic() - begin


def fetch(url):
    """The body of a page, once it answers with 200."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=5) as answer:
            return answer.read()
        time.sleep(0.05)
    raise AssertionError(f"{url} did not answer within 20 s")


def read_line(process, pattern):
    """The first line on stderr that matches."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline and select.select([process.stderr], [], [], 20)[0]:
        line = process.stderr.readline()
        if not line or re.search(pattern, line):
            return line
    raise AssertionError(f"no line matched {pattern!r} within 20 s")


def test_processes_are_plain_data(tmp_path):
    """The list names four processes with their commands and the variables that they need, and nothing is started."""
    parts = processes("python", tmp_path, Ports(8000, 8001), rate=2.5, duration_s=60)

    assert [part.name for part in parts] == ["payments", "storefront", "worker", "load"]
    assert parts[1].argv == ["python", "-m", "demo_app.storefront", "--port", "8000"]
    assert parts[3].argv[3:] == ["--url", "http://127.0.0.1:8000", "--rate", "2.5", "--duration", "60"]
    assert parts[0].env == {"SHOP_DATA": str(tmp_path), "SHOP_PAYMENTS_URL": "http://127.0.0.1:8001"}
    assert parts[0].cwd == ROOT


@pytest.mark.parametrize("name", ["storefront", "payments", "worker"])
def test_a_service_stops_on_sigterm(name, shop_data, start):
    """Each service ends within two seconds of SIGTERM, with status 0."""
    ports = free_ports()
    part = next(part for part in processes(sys.executable, shop_data, ports) if part.name == name)
    process = start([*part.argv, *(["--interval", "0.05"] if name == "worker" else [])], part.env)
    assert read_line(process, "listening on|report rows in memory")

    assert stop_seconds(process) <= 2
    assert process.returncode == 0


def test_a_port_in_use_ends_in_one_line(shop_data, start):
    """A service whose port is taken says so, without a traceback."""
    part = processes(sys.executable, shop_data, free_ports())[0]
    read_line(start(part.argv, part.env), "listening on")
    second = start(part.argv, part.env)
    _, errors = second.communicate(timeout=20)

    assert second.returncode == 1
    assert re.fullmatch(r"payments cannot listen on 127\.0\.0\.1:\d+: Address already in use\n", errors)


def test_the_whole_shop_runs_and_stops(shop_data, start):
    """`python -m demo_app` prints the storefront's address, is under load, and stops within two seconds of SIGTERM."""
    shop = start([sys.executable, "-m", "demo_app", "--data", str(shop_data), "--rate", "20"], {})
    url = shop.stdout.readline().removeprefix("storefront: ").strip()
    read_line(shop, "requests/s from now on")

    assert b"price_cents" in fetch(f"{url}/products")
    assert stop_seconds(shop) <= 2
    assert shop.returncode == 0
    with pytest.raises(urllib.error.URLError):
        urllib.request.urlopen(url, timeout=2)


def test_the_shop_ends_with_its_load(shop_data, start):
    """With a duration everything ends by itself once the load is over."""
    shop = start([sys.executable, "-m", "demo_app", "--data", str(shop_data), "--rate", "20", "--duration", "1"], {})
    _, errors = shop.communicate(timeout=30)

    assert shop.returncode == 0
    assert re.search(r"load \d+ requests arrived: .* 0 unanswered", errors)


def test_a_part_that_dies_ends_the_shop_with_its_name(shop_data, start):
    """When a part cannot run the shop stops, says which part it was, and fails."""
    faulty = {"SHOP_FAIL_RATE": "often"}
    shop = start([sys.executable, "-m", "demo_app", "--data", str(shop_data)], faulty)
    _, errors = shop.communicate(timeout=30)

    assert shop.returncode == 1
    assert re.search(r"(payments|storefront|worker) ended with status 1; stopping the shop", errors)
    assert "SHOP_FAIL_RATE is 'often'" in errors


def test_each_process_is_told_its_name_on_request(tmp_path, shop_data, start):
    """With --name-variable every process finds its own name in that variable."""
    (tmp_path / "sitecustomize.py").write_text(
        f"import os, pathlib\npathlib.Path({str(tmp_path)!r}, os.environ.get('OWN_NAME', 'none') + '.name').touch()\n"
    )
    arguments = ["--data", str(shop_data), "--duration", "0.1", "--name-variable", "OWN_NAME"]
    shop = start([sys.executable, "-m", "demo_app", *arguments], {"PYTHONPATH": str(tmp_path)})
    shop.communicate(timeout=30)

    names = {path.stem for path in tmp_path.glob("*.name")}
    assert names == {"none", "storefront", "payments", "worker", "load"}
