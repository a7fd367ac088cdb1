"""What every training command shows while it runs: one bar a stage, with the time left."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from ponas_deploy.commands.output import report_console

if TYPE_CHECKING:
    from train.progress import OnProgress, Progress


def needs_torch() -> None:
    """Raise MissingExtraError, with the line that installs it, where there is no torch."""
    from ponas_deploy.errors import MissingExtraError

    if find_spec("torch") is None:
        raise MissingExtraError("torch, which training needs,", "train")


@contextmanager
def training_bars() -> Iterator[OnProgress]:
    """One bar a stage with the time left, and a line for each finished layer."""
    from rich.progress import BarColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
    from rich.progress import Progress as Bars

    console = report_console(stderr=True)
    columns = (
        TextColumn("{task.fields[stage]:9}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.description}", style="dim"),
    )
    with Bars(*columns, console=console) as bars:
        tasks: dict[str, Any] = {}

        def on_progress(progress: Progress) -> None:
            if progress.stage not in tasks:
                tasks[progress.stage] = bars.add_task("", stage=progress.stage, total=progress.total)
            metrics = ", ".join(f"{name} {value:.4g}" for name, value in progress.metrics)
            bars.update(
                tasks[progress.stage],
                completed=progress.done,
                total=progress.total,
                description=" ".join(part for part in (progress.text, metrics) if part),
            )
            if any(name == "skipped_images" for name, _ in progress.metrics):
                bars.console.print(progress.text, highlight=False, markup=False)
            if progress.row is not None:
                row = progress.row
                values = " ".join(f"{value:5.1f}" for value in row.top1_pct)
                bars.console.print(f"layer {row.layer:>2}: {values}  best {row.chosen}", highlight=False)

        yield on_progress
