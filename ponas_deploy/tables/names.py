"""Short names for tables that stand side by side: what tells them apart, and no more."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ponas_deploy.tables.latency import Conditions, LatencyTable


def short_names(tables: Sequence[LatencyTable], paths: Sequence[Path]) -> tuple[str, ...]:
    """One name a table: those of its conditions that differ between them, or its file's name.

    Where that leaves two alike, the file tells them apart.
    """
    conditions = [table.conditions for table in tables]
    known = [condition for condition in conditions if condition is not None]
    if len(known) < len(tables) or len(set(known)) < len(tables):
        stems = [path.stem for path in paths]
        return tuple(stems if len(set(stems)) == len(stems) else map(str, paths))
    return tuple(_difference(condition, known) for condition in known)


def _difference(own: Conditions, known: Sequence[Conditions]) -> str:
    words = {
        "device": own.device,
        "backend": own.backend,
        "precision": own.precision,
        "threads": f"{own.threads} thread{'s' if own.threads > 1 else ''}",
        "batch": f"batch {own.batch}",
    }
    different = [word for field, word in words.items() if len({getattr(other, field) for other in known}) > 1]
    return " ".join(different) or f"{own.backend} {own.precision}"
