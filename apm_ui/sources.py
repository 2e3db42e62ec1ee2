"""What a page may ask: the store, the objectives, and where the stack listens."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from apm_store.api import Store


@dataclass(frozen=True, slots=True)
class Sources:
    """Given to every page's `load`. `objectives_dir` holds OpenSLO files and may be missing.

    `collector_token` opens the collector's port; "" where it asks for none.
    """

    store: Store
    objectives_dir: Path
    otlp_http: str = "127.0.0.1:4318"
    otlp_grpc: str = "127.0.0.1:4317"
    has_demo: bool = False
    collector_token: str = field(default="", repr=False)
