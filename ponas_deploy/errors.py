"""Every error a user of this project can meet.

    PonasError                      one sentence: what is wrong, then what to do; exit code 1
    |- UnknownNameError             a space, device, backend, ... that nobody knows; lists what exists
    |- SpaceError                   a search space whose parts do not fit together
    |- ArchitectureError            text or file that is no architecture of the space
    |- WeightsError                 tensors that do not fit the network
    |- FileFormatError              a file that is broken, truncated, newer, or of another kind
    |- OverwriteError               a measurement would be overwritten
    |- TableMismatchError           two tables, or a table and a space, that do not belong together
    |- BudgetError                  no architecture meets the budget; carries the least that is possible
    |- BackendError                 a runtime that is missing, refuses a model, or fails while it runs
    |- MissingExtraError            a package of an optional extra is not installed
    |- MeasurementError             a measurement that could not be finished or trusted
    |- TrainingError                training that came to a loss that is not finite
    |- OutOfMemoryError             a batch that the device has not the memory for
    `- RunMismatchError             a run's folder that holds a run of other settings

Those about spaces are defined in `searchspace/errors.py`, the last three in `train/errors.py`.
Anything else that escapes is a bug of ours and shows its traceback.
"""

from __future__ import annotations

from pathlib import Path

from searchspace.errors import (
    ArchitectureError,
    PonasError,
    SpaceError,
    UnknownNameError,
    WeightsError,
    printable,
)

__all__ = [
    "ArchitectureError",
    "BackendError",
    "BudgetError",
    "FileFormatError",
    "MeasurementError",
    "MissingExtraError",
    "OverwriteError",
    "PonasError",
    "SpaceError",
    "TableMismatchError",
    "UnknownNameError",
    "WeightsError",
    "printable",
]


class FileFormatError(PonasError):
    """A file cannot be read as what it should be.

    Attributes: `path`, `where` (a line or a key such as `layers[3].cells[0].latency_ms`, may be
    empty), `reason`.
    """

    def __init__(self, path: Path | str, where: str, reason: str) -> None:
        self.path, self.where, self.reason = Path(path), where, reason
        super().__init__(printable(f"{path}{', ' + where if where else ''}: {reason}"))


class OverwriteError(PonasError):
    """A file is there already and overwriting was not asked for. Attribute: `path`."""

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        kind = "folder" if self.path.is_dir() else "file"
        super().__init__(f"{path} exists already: name another {kind}, or ask to overwrite it with --force.")


class TableMismatchError(PonasError):
    """Values that must not be combined: other layers, candidates, space, device or unit."""


class BudgetError(PonasError):
    """No architecture meets the budget.

    Attributes: `constraint` ("latency_ms", "macs", ...), `asked`, `least` (the smallest value that
    exists, in the same unit; None where only the constraints together are impossible), `cannot_be_told`
    (noise keeps anybody from telling whether an engine that was measured meets it; exit code 3).
    """

    def __init__(
        self,
        message: str,
        constraint: str,
        asked: float,
        least: float | None,
        *,
        cannot_be_told: bool = False,
    ) -> None:
        self.constraint, self.asked, self.least = constraint, asked, least
        self.cannot_be_told = cannot_be_told
        super().__init__(message)


class BackendError(PonasError):
    """A runtime failed. Attributes: `backend`, `reason`."""

    def __init__(self, backend: str, reason: str) -> None:
        self.backend, self.reason = backend, reason
        super().__init__(f"{backend}: {reason}")


class MissingExtraError(PonasError):
    """An optional part is not installed. Attributes: `what`, `extra`."""

    def __init__(self, what: str, extra: str) -> None:
        self.what, self.extra = what, extra
        super().__init__(f"{what} is not installed: pip install 'ponas-deploy[{extra}]'.")


class MeasurementError(PonasError):
    """A measurement could not be finished, or its values cannot be trusted."""
