"""What a container may use: the limits of this process's control group, version 2 or 1, and what they cost.

Files: https://docs.kernel.org/admin-guide/cgroup-v2.html (cpu.max, cpu.stat, memory.max, memory.stat) and
their older names.
"""

from __future__ import annotations

import re
from pathlib import Path

from ponas_deploy.machines.system_files import ROOT, read_text


def quota_cores(root: Path = ROOT) -> float | None:
    """Cores that the container's quota allows, None where it sets no limit."""
    limit = _read(root, "cpu", "cpu.max").split()
    if len(limit) != 2:
        limit = [_read(root, "cpu", f"cpu.cfs_{part}_us") for part in ("quota", "period")]
    try:
        quota, period = (float(part) for part in limit)
    except ValueError:  # "max", or no such file
        return None
    return quota / period if quota > 0 and period > 0 else None


def held_by_quota_s(root: Path = ROOT) -> float:
    """Seconds that the quota held processes of this container up, so far."""
    counted = _counts(_read(root, "cpu", "cpu.stat"))
    return counted.get("throttled_usec", 0) / 1e6 + counted.get("throttled_time", 0) / 1e9


def free_memory_bytes(root: Path = ROOT) -> int | None:
    """Memory that the container may still take, None where nothing says so; huge without a limit.

    What only keeps files at hand is given back when it is needed, and counts as free.
    """
    limit = _read(root, "memory", "memory.max") or _read(root, "memory", "memory.limit_in_bytes")
    used = _read(root, "memory", "memory.current") or _read(root, "memory", "memory.usage_in_bytes")
    if not limit.isdigit() or not used.isdigit():
        return None
    counted = _counts(_read(root, "memory", "memory.stat"))
    return int(limit) - int(used) + counted.get("total_inactive_file", counted.get("inactive_file", 0))


def _read(root: Path, controller: str, name: str) -> str:
    """A file of this process's own group, else of the whole tree that a container sees; may be empty."""
    groups = re.findall(r"^\d+:(.*):(.*)$", read_text(root / "proc/self/cgroup"), re.MULTILINE)
    own = [path for kinds, path in groups if not kinds]
    older = [f"/{controller}{path}" for kinds, path in groups if controller in kinds.split(",")]
    folders = (*own, *older, "", f"/{controller}")
    return next(filter(None, (read_text(root / f"sys/fs/cgroup{folder}/{name}") for folder in folders)), "")


def _counts(text: str) -> dict[str, int]:
    return {name: int(count) for name, count in re.findall(r"^(\w+) (\d+)$", text, re.MULTILINE)}
