"""Builds a minimal upstream OpenTelemetry Collector outside the repository, once: `python tests/interop/otelcol.py`."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

VERSION = "0.162.0"
STABLE_VERSION = "1.68.0"  # of the modules that are stable, at the same release
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "spanwise-interop" / VERSION
BINARY = CACHE / "otelcol"
MODULE = "go.opentelemetry.io/collector"
MANIFEST = f"""
dist:
  name: otelcol
  description: minimal upstream collector for interoperability tests
  output_path: {CACHE}/build
  version: {VERSION}
receivers:
  - gomod: {MODULE}/receiver/otlpreceiver v{VERSION}
processors:
  - gomod: {MODULE}/processor/batchprocessor v{VERSION}
exporters:
  - gomod: {MODULE}/exporter/debugexporter v{VERSION}
  - gomod: {MODULE}/exporter/otlpexporter v{VERSION}
  - gomod: {MODULE}/exporter/otlphttpexporter v{VERSION}
providers:
  - gomod: {MODULE}/confmap/provider/envprovider v{STABLE_VERSION}
  - gomod: {MODULE}/confmap/provider/fileprovider v{STABLE_VERSION}
"""


def missing() -> str:
    """Why there is no binary to test with; "" when there is one."""
    if BINARY.is_file():
        return ""
    if shutil.which("go") is None:
        return "no upstream Collector is built, and there is no Go toolchain to build it with"
    return "no upstream Collector is built; `make interop` builds it (a few minutes) and runs these tests"


def main() -> int:
    """Build the binary unless it is there, and print all versions."""
    if missing():
        if shutil.which("go") is None:
            print(f"skipped: {missing()}")
            return 0
        CACHE.mkdir(parents=True, exist_ok=True)
        (CACHE / "builder.yaml").write_text(MANIFEST)
        command = ["go", "run", f"{MODULE}/cmd/builder@v{VERSION}", "--config", str(CACHE / "builder.yaml")]
        if subprocess.run(command, check=False, cwd=CACHE).returncode:
            print("skipped: the upstream Collector cannot be built here; see above (are its modules reachable?)")
            return 0
        (CACHE / "build" / "otelcol").replace(BINARY)
    for command in (["go", "version"], [str(BINARY), "--version"]):
        if shutil.which(command[0]):
            print(subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip())
    return 0


if __name__ == "__main__":
    sys.exit(main())
