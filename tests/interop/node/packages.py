"""Installs npm's OpenTelemetry packages outside the repository, once: `python tests/interop/node/packages.py`."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
LOCK = HERE / "package-lock.json"
VERSION = hashlib.sha256(LOCK.read_bytes()).hexdigest()[:12]  # another lock file, another installation
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "spanwise-interop" / "node"
INSTALLED = CACHE / VERSION


def missing() -> str:
    """Why there is nothing to test with; "" when there is."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        return "node and npm are not on this machine"
    if INSTALLED.is_dir():
        return ""
    return "npm's OpenTelemetry packages are not installed; `make interop` installs them (115 MB) and runs this test"


def main() -> int:
    """Install exactly what the lock file names unless it is there, and print all versions."""
    if shutil.which("npm") is None:
        print(f"skipped: {missing()}")
        return 0
    if not INSTALLED.is_dir():
        begun = CACHE / f"{VERSION}.{os.getpid()}"
        begun.mkdir(parents=True)
        for file in (HERE / "package.json", LOCK):
            shutil.copy(file, begun)
        if subprocess.run(["npm", "ci", "--ignore-scripts"], check=False, cwd=begun).returncode:
            shutil.rmtree(begun)
            print("skipped: the packages cannot be installed here; see above (is the npm registry reachable?)")
            return 0
        begun.replace(INSTALLED)
    for command in (["node", "--version"], ["npm", "ls", "@opentelemetry/auto-instrumentations-node"]):
        subprocess.run(command, check=False, cwd=INSTALLED)
    return 0


if __name__ == "__main__":
    sys.exit(main())
