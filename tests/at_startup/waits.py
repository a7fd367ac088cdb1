"""Other tests keep the cores busy and none judges time: values by which nothing waits until it is quiet."""

from __future__ import annotations

import os
from pathlib import Path

PAUSES = {"contended_processes_s": 0.0, "process_pause_s": 0.0, "later_s": 0.0, "gap_s": 0.0}
QUIET = {"quiet_wait_s": 0.1, "quiet_wait_most_s": 0.1}
EXTRA = {"extra_time_share": 0.0}
"""Rules of `Retries`."""
SECONDS = 0.1
"""For which an engine is timed in each process."""


def python_path(*folders: Path) -> str:
    """PYTHONPATH of processes that a test starts: `sitecustomize.py`, and then these folders."""
    return os.pathsep.join(map(str, (Path(__file__).parent, *folders)))
