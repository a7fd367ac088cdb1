"""What the documents of a training run hold: typed values and their formats. No torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from ponas_deploy.files.documents import Format

Plain: TypeAlias = bool | int | float | str | None
Setting: TypeAlias = Plain | list[Plain]


@dataclass(frozen=True, slots=True)
class RunDocument:
    """`run.json`: everything that decides what comes out of a run, by dotted name (`meta.epochs`)."""

    settings: dict[str, Setting]


RUN = Format("ponas.training-run", 1, RunDocument)
"""A run of `ponas train`."""
SPECIALIZED_RUN = Format("ponas.specialized-run", 1, RunDocument)
"""A run of `ponas train specialized`."""
