"""How a run went, line by line: `log.csv`, and TensorBoard's events where that package is there. No torch.

A line is written at the end of every epoch and layer, and every few seconds in between. A process that
goes on with a run adds to the file; seconds are counted over all processes of the run.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator
from dataclasses import astuple, dataclass
from datetime import datetime, timezone
from importlib.util import find_spec
from pathlib import Path
from time import monotonic
from types import TracebackType
from typing import TYPE_CHECKING, Any

from ponas_deploy.errors import FileFormatError, PonasError
from ponas_deploy.files.bounds import AtLeastZero, Count, Percent, Positive, Seconds
from ponas_deploy.files.documents import converted, refuse_infinite
from ponas_deploy.files.opening import MOST_CSV_BYTES, read_text
from train.progress import Pace, Speed, TrainingProgress

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

EVERY_S = 10.0


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the log; None where a stage has no such value.

    `at` says in words where the stage is (epoch 3 of 50), `step` of `steps` in units of about equal time.
    `loss` is that of training: of the last step, or the mean of an epoch at its end.
    """

    time: str
    seconds: Seconds
    stage: str
    at: str
    step: Count
    steps: Positive
    loss: float | None
    validation_top1_pct: Percent | None
    lr: AtLeastZero | None
    images_per_s: AtLeastZero | None
    left_s: Seconds | None


def read_log(path: Path) -> tuple[Line, ...]:
    """The lines of a log, none where there is no file; a last line that a kill cut short is left out.

    FileFormatError names a line that is none.
    """
    if not path.exists():
        return ()
    text = read_text(path, MOST_CSV_BYTES)
    complete = text[: text.rfind("\n") + 1]
    rows = csv.reader(io.StringIO(complete))
    next(rows, None)
    return tuple(_lines(path, rows))


def _lines(path: Path, rows: Iterator[list[str]]) -> Iterator[Line]:
    number = 1
    try:
        for number, row in enumerate(rows, start=2):
            yield _line(path, f"line {number}", row)
    except csv.Error as error:
        raise FileFormatError(path, f"line {number + 1}", f"is no line of CSV ({error}).") from error


def _line(path: Path, where: str, row: list[str]) -> Line:
    try:
        values = {name: read(text) for (name, read), text in zip(_COLUMNS.items(), row, strict=True)}
    except ValueError as error:
        raise FileFormatError(path, where, "is no line of a training log.") from error
    refuse_infinite(values, path, where)
    return converted(values, Line, path, where)


def _moment(text: str) -> str:
    """A time as it is written here: with its distance from UTC."""
    if datetime.fromisoformat(text).tzinfo is None:
        raise ValueError(text)
    return text


def _number(text: str) -> float | None:
    return float(text) if text else None


_COLUMNS: dict[str, Callable[[str], Any]] = {
    "time": _moment,
    "seconds": float,
    "stage": str,
    "at": str,
    "step": int,
    "steps": int,
    "loss": _number,
    "validation_top1_pct": _number,
    "lr": _number,
    "images_per_s": _number,
    "left_s": _number,
}
"""How each column is read."""


class RunLog:
    """Writes the log of a run; called with what the run reports. A context manager."""

    def __init__(self, path: Path) -> None:
        self._path, self._pace = path, Pace()
        self._start, self._last = monotonic(), -EVERY_S
        self._before_s = max((line.seconds for line in read_log(path)), default=0.0)
        self._boards: dict[str, SummaryWriter] = {}
        _cut_to_whole_lines(path)

    def __call__(self, progress: TrainingProgress) -> None:
        """Take in a report; write a line if it is time."""
        if progress.stage == "data" or (progress.row and not progress.milestone):
            return
        speed, now = self._pace.see(progress), monotonic()
        if progress.milestone or now - self._last >= EVERY_S:
            self._last = now
            self._write(_described(progress, speed, self._before_s + now - self._start))

    def _write(self, line: Line) -> None:
        text = io.StringIO()
        values = [f"{value:.6g}" if isinstance(value, float) else value for value in astuple(line)]
        csv.writer(text, lineterminator="\n").writerow(values)
        try:
            new = not self._path.exists() or not self._path.stat().st_size
            with self._path.open("a", encoding="utf-8") as file:
                file.write(f"{','.join(_COLUMNS)}\n{text.getvalue()}" if new else text.getvalue())
        except OSError as error:
            raise PonasError(f"{self._path} cannot be written: {error.strerror}.") from error
        self._draw(line)

    def _draw(self, line: Line) -> None:
        if find_spec("tensorboard") is None:
            return
        if line.stage not in self._boards:
            from torch.utils.tensorboard import SummaryWriter

            folder = self._path.parent / "tensorboard" / line.stage
            self._boards[line.stage] = SummaryWriter(str(folder), purge_step=line.step)
        for name in ("loss", "validation_top1_pct", "lr", "images_per_s"):
            value = getattr(line, name)
            if value is not None:
                self._boards[line.stage].add_scalar(name, value, line.step)

    def __enter__(self) -> RunLog:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for board in self._boards.values():
            board.close()


def _described(progress: TrainingProgress, speed: Speed, seconds: float) -> Line:
    metrics = dict(progress.metrics)
    row = progress.row
    return Line(
        datetime.now(timezone.utc).isoformat(timespec="seconds"),
        seconds,
        progress.stage,
        progress.text,
        progress.done,
        progress.total,
        metrics.get("loss", metrics.get("cross_entropy")),
        max(row.top1_pct) if row else metrics.get("validation_top1_pct"),
        metrics.get("lr"),
        speed.images_per_s,
        speed.left_s,
    )


def _cut_to_whole_lines(path: Path) -> None:
    if path.exists():
        data = path.read_bytes()
        complete = data[: data.rfind(b"\n") + 1]
        if complete != data:
            with path.open("r+b") as file:
                file.truncate(len(complete))
