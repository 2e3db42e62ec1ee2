"""A collector with a store in the directory of the first argument; prints its two addresses, ends with its stdin."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from apm_collector.collector import Collector
from apm_collector.config import load_config
from apm_store.open import open_store

CONFIG = Path(__file__).parents[2] / "collector-config" / "local.yaml"


def main() -> None:
    """Serve until stdin ends."""
    store = open_store(Path(sys.argv[1]))
    collector = Collector(load_config(CONFIG, {}).listening_on("127.0.0.1", 0, 0), store)
    collector.start()
    addresses = {name.rpartition("/")[2]: [one.host, one.port] for name, one in collector.endpoints.items()}
    print(json.dumps(addresses), flush=True)
    sys.stdin.read()
    collector.stop()
    store.close()


if __name__ == "__main__":
    main()
