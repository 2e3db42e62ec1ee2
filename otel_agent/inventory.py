"""Prints what an interpreter has installed, as one JSON object; any Python can run this file by itself."""

import json
import sys

try:
    from importlib.metadata import distributions
except ImportError:  # before Python 3.8: too old for the agent anyway
    distributions = list  # type: ignore[assignment]

if __name__ == "__main__":
    try:
        import pip  # noqa: F401

        has_pip = True
    except ImportError:
        has_pip = False
    installed = {}  # type: dict[str, str]
    for one in distributions():
        if one.metadata["Name"]:  # what is left of a broken installation has none
            installed.setdefault(one.metadata["Name"], one.version)
    print(  # noqa: T201 - this is its answer
        json.dumps(
            {
                "executable": sys.executable,
                "python": list(sys.version_info[:3]),
                "has_pip": has_pip,
                "distributions": installed,
            }
        )
    )
