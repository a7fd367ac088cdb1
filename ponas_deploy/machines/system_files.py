"""The small files (/proc, /sys) in which a system answers, and the cores that this process may use."""

from __future__ import annotations

import os
import re
from pathlib import Path

ROOT = Path("/")


def read_text(path: Path) -> str:
    """What a file holds, without white space around it; empty where it cannot be read."""
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""


def read_numbers(root: Path, pattern: str) -> list[int]:
    """The whole numbers in the files that match, those that hold one."""
    texts = (read_text(path) for path in root.glob(pattern))
    return [int(text) for text in texts if re.fullmatch(r"-?\d+", text)]


def own_cores() -> tuple[int, ...]:
    """The cores this process may run on."""
    own = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(os.cpu_count() or 1)
    return tuple(sorted(own))
