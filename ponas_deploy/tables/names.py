"""Short names for tables that stand side by side: what tells them apart, and no more."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ponas_deploy.tables.latency import ESTIMATE, Conditions, LatencyTable


def short_names(tables: Sequence[LatencyTable], paths: Sequence[Path]) -> tuple[str, ...]:
    """One name a table: what differs between their conditions and resolutions, or its file's name.

    Where that leaves two alike, the file tells them apart. The name of an estimated table says that it is
    one.
    """
    return tuple(
        name if not table.estimated or ESTIMATE in name else f"{name} ({ESTIMATE})"
        for name, table in zip(_names(tables, paths), tables, strict=True)
    )


def _names(tables: Sequence[LatencyTable], paths: Sequence[Path]) -> tuple[str, ...]:
    known = [
        (table.conditions, table.space.resolution if table.space else None)
        for table in tables
        if table.conditions is not None
    ]
    if len(known) < len(tables) or len(set(known)) < len(tables):
        stems = [path.stem for path in paths]
        return tuple(stems if len(set(stems)) == len(stems) else map(str, paths))
    words = [_words(*one) for one in known]
    differ = [field for field in words[0] if len({one[field] for one in words}) > 1]
    return tuple(
        " ".join(one[field] for field in differ if one[field]) or f"{one['backend']} {one['precision']}"
        for one in words
    )


def _words(own: Conditions, resolution: int | None) -> dict[str, str]:
    return {
        "device": own.device,
        "backend": own.backend,
        "precision": own.precision,
        "threads": f"{own.threads} thread{'s' if own.threads > 1 else ''}",
        "batch": f"batch {own.batch}",
        "resolution": f"{resolution} px" if resolution else "",
    }
