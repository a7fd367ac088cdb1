"""What every training command shows while it runs: one bar a stage, and the table as it fills up."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from ponas_deploy.commands.output import note, plain_column, report_console

if TYPE_CHECKING:
    from train.progress import LayerRow, OnProgress, Speed, TrainingProgress


def needs_torch() -> None:
    """Raise MissingExtraError, with the line that installs it, where there is no torch."""
    from ponas_deploy.errors import MissingExtraError

    if find_spec("torch") is None:
        raise MissingExtraError("torch, which training needs,", "train")


@contextmanager
def training_in(folder: Path) -> Iterator[OnProgress]:
    """Bars of a training whose files go to `folder`; of several processes the first alone shows any.

    The others, when one of them fails, end without a message.
    """
    from train.compute import distributed
    from train.errors import OtherProcessError

    board = "" if find_spec("tensorboard") else " (for TensorBoard's too: pip install tensorboard)"
    opening = f"training in {folder}, log in log.csv{board}; Ctrl-C stops, the same command goes on"
    try:
        with training_bars(opening, quiet=not distributed.leads()) as on_progress:
            yield on_progress
    except OtherProcessError as error:
        raise typer.Exit(1) from error
    except KeyboardInterrupt:
        if (folder / "run.json").exists():
            note(f"what is finished is kept in {folder}: the same command goes on from there")
        else:
            note("nothing was finished yet: the same command begins again")
        raise


@contextmanager
def training_bars(opening: str = "", *, quiet: bool = False) -> Iterator[OnProgress]:
    """One bar a stage with the time left, and a line for each finished layer.

    `opening` is printed when the images are read and the work begins. `quiet` shows no bar: of several
    processes that train together only the first draws.
    """
    from rich.progress import BarColumn, TimeElapsedColumn
    from rich.progress import Progress as Bars
    from rich.table import Column

    from ponas_deploy.errors import printable
    from train.progress import Pace

    columns = (
        plain_column("{task.fields[stage]:9}"),
        BarColumn(bar_width=20),
        plain_column("{task.percentage:>3.0f} %"),
        TimeElapsedColumn(table_column=Column(min_width=7)),
        plain_column("{task.fields[left]}", table_column=Column(min_width=12, justify="right")),
        plain_column(
            "{task.description}", style="dim", table_column=Column(no_wrap=True, overflow="ellipsis")
        ),
    )
    pace = Pace()
    with Bars(*columns, console=report_console(stderr=True), disable=quiet) as bars:
        tasks: dict[str, Any] = {}
        printed = set[str]()

        def once(text: str) -> None:
            if text not in printed:
                printed.add(text)
                say(text)

        def say(text: str) -> None:
            bars.console.print(printable(text), highlight=False, markup=False, soft_wrap=True)

        def on_progress(progress: TrainingProgress) -> None:
            if opening and progress.stage != "data":
                once(opening)
            if progress.note:
                say(progress.text)
            if progress.row is not None:
                once(_header(progress.row))
                say(_row(progress.row))
            if progress.row is None or progress.milestone:
                _advance(progress, pace.see(progress))

        def _advance(progress: TrainingProgress, speed: Speed) -> None:
            if progress.stage not in tasks:
                tasks[progress.stage] = bars.add_task("", stage=progress.stage, total=None, left="")
            bars.update(
                tasks[progress.stage],
                completed=progress.done,
                total=progress.total,
                description=_described(progress, speed),
                left=f"{in_hours(speed.left_s)} left" if speed.left_s else "",
            )

        yield on_progress


_SHORT = {
    "cross_entropy": "loss",
    "validation_top1_pct": "top-1 %",
    "smallest_top1_pct": "of the smallest %",
    "mean_top1_pct": "of several %",
    "best_top1_pct": "best %",
}


def _described(progress: TrainingProgress, speed: Speed) -> str:
    from ponas_deploy.errors import printable

    rate = "" if speed.images_per_s is None else f"{speed.images_per_s:.0f} images/s"
    metrics = ", ".join(f"{_SHORT.get(name, name)} {value:.4g}" for name, value in progress.metrics)
    return "  ".join(part for part in (printable(progress.text), rate, metrics) if part)


def in_hours(seconds: float) -> str:
    """A time for people: 0:12:30."""
    return str(timedelta(seconds=round(seconds)))


def _header(row: LayerRow) -> str:
    return f"{'layer':5}" + "".join(f"{label:>{_width(label)}} " for label in row.labels)


def _row(row: LayerRow) -> str:
    """Top-1 in percent of each candidate, a star at the one that stays."""
    cells = (
        f"{value:>{_width(label)}.2f}{'*' if label == row.chosen else ' '}"
        for label, value in zip(row.labels, row.top1_pct, strict=True)
    )
    return f"{row.layer:5}{''.join(cells)}"


def _width(label: str) -> int:
    return max(len(label), 6) + 1
