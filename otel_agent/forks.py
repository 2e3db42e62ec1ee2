"""What a forked child has to do before it goes on."""

import os
from collections.abc import Callable


def in_children(call: Callable[[], object]) -> None:
    """Have every child that this process forks from now on make a call first; no fork, no call."""
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=call)
