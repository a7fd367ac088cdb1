"""How far a run is, read from its folder alone: it may be running, stopped or finished. No torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path

from ponas_deploy.errors import PonasError
from ponas_deploy.files.documents import read_raw
from ponas_deploy.tables.accuracy import AccuracyTable
from ponas_deploy.tables.files import load_accuracy_table
from train.files import lock
from train.files.documents import RUN, TRANSFER_RUN, RunDocument, Setting
from train.files.lock import Holder
from train.files.log import Line, read_log
from train.files.paths import RunPaths
from train.files.rows import grid_of
from train.settings import TransferSettings, pairs_of


@dataclass(frozen=True, slots=True)
class Status:
    """A run as its folder shows it.

    `asked` are the settings by dotted name, with what followed from the images; `transfer` tells a run of
    `ponas train transfer`. `stage`: "data" (nothing but the images has been read), that of the log, or
    "done". `last` is the newest line of the log, `best_top1_pct` the best validation accuracy so far. `table`
    has the rows that are finished, None before the first. `holder` is the process that trains now.
    """

    folder: Path
    asked: dict[str, Setting]
    stage: str
    last: Line | None
    best_top1_pct: float | None
    table: AccuracyTable | None
    holder: Holder | None
    transfer: bool = False

    @property
    def settings(self) -> tuple[str, ...]:
        """What differs from the defaults, the paper's recipe or those of a transfer: pairs `name=value`."""
        return pairs_of(self.asked, asdict(TransferSettings()) if self.transfer else None)

    @property
    def left_s(self) -> float | None:
        """Seconds that the stage will still take; while it runs, from now on."""
        if self.stage == "done" or self.last is None or self.last.left_s is None:
            return None
        if self.holder is None:
            return self.last.left_s
        since = datetime.now(timezone.utc) - datetime.fromisoformat(self.last.time)
        return max(self.last.left_s - since.total_seconds(), 0.0)


def read_status(folder: Path) -> Status:
    """The status of the run in a folder; PonasError when there is none, or a file of it cannot be read."""
    try:
        return _status(folder)
    except OSError as error:
        raise PonasError(f"{folder} cannot be read: {error.strerror}.") from error


def _status(folder: Path) -> Status:
    paths, holder = RunPaths(folder), lock.holder(folder)
    if not paths.run.exists():
        if holder is None:
            raise PonasError(f"{folder} holds no training run: name the folder that `ponas train` wrote to.")
        return Status(folder, {}, "data", None, None, None, holder)
    raw = read_raw(paths.run, RUN, TRANSFER_RUN)
    asked, transfer = raw.value(RunDocument).settings, raw.format == TRANSFER_RUN
    lines, first = read_log(paths.log), "head" if transfer else _first_stage(asked)
    stage = "done" if paths.table.exists() else lines[-1].stage if lines else first
    table = load_accuracy_table(paths.table) if stage == "done" else _so_far(paths)
    seen = [line.validation_top1_pct for line in lines if line.validation_top1_pct is not None]
    best = max(seen, default=None)
    return Status(folder, asked, stage, lines[-1] if lines else None, best, table, holder, transfer)


def _first_stage(asked: Mapping[str, Setting]) -> str:
    if "single_path.epochs" in asked:
        return "first" if asked.get("single_path.first_epochs") else "supernet"
    return "largest" if "shrink.epochs" in asked else "meta"


def _so_far(paths: RunPaths) -> AccuracyTable | None:
    rows = paths.rows()
    return AccuracyTable.from_top1(grid_of(rows)) if rows else None
