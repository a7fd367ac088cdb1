"""From a file of whole networks to a table, and from a table to predictions of networks."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path

from ponas_deploy.errors import ArchitectureError
from ponas_deploy.files.notes import OnNote, no_note
from ponas_deploy.fitting.predictions import predict_rows
from ponas_deploy.fitting.result import fit_networks
from ponas_deploy.fitting.tables import predict as predict_choices
from ponas_deploy.fitting.tables import table_of
from ponas_deploy.tables.accuracy import AccuracyTable
from ponas_deploy.tables.depth import depth_fault
from ponas_deploy.tables.latency import LatencyTable
from ponas_deploy.tables.networks_csv import read_networks
from ponas_deploy.tables.spaces import ruling_space
from searchspace.architecture import Architecture


def fit_table(
    file: Path | str,
    *,
    space: str | None = None,
    resolution: int = 224,
    classes: int = 1000,
    seed: int = 0,
    on_note: OnNote = no_note,
) -> LatencyTable | AccuracyTable:
    """Fit a table to whole networks, anyone's: of latencies or of accuracies, as the last column says.

    Args:
        file: CSV with a column a layer, named by the layer, that holds the candidate's label, and a last
            column `latency_ms` (milliseconds) or `top1_pct` (percent). 20 to 20,000 rows.
        space: the name of the networks' space, where several have the same layers and candidates (`ofa-mbv3`
            at both widths); None takes the first.
        resolution: side of the networks' input in pixels, for a space that is known here.
        classes: how many they tell apart, likewise.
        seed: of the folds that are held out.
        on_note: called with each warning: candidates that the rows cannot tell apart, sums that do not
            explain them, a machine that drifted.

    Returns: the table, with the certificate of its held-out rows.

    Raises: FileFormatError for a file that is no such CSV, PonasError for too few rows or rows of another
    space.
    """
    fitted = fit_networks(read_networks(Path(file)), space=space, seed=seed)
    for warning in fitted.warnings:
        on_note(warning)
    created = datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    return table_of(fitted, created=created, resolution=resolution, classes=classes)


def predict(
    table: LatencyTable | AccuracyTable,
    networks: Path | str | Sequence[Architecture] | Sequence[Sequence[str]],
    *,
    on_note: OnNote = no_note,
) -> tuple[float, ...]:
    """Predict networks by a table: milliseconds by a latency table, percent of top-1 by an accuracy table.

    Args:
        table: the table, of the networks' space.
        networks: the path of a CSV with a column a layer, or (N,) architectures, or (N,) sequences of one
            candidate label a layer.
        on_note: called with one line where rows of a file have candidates that the table does not know.

    Returns: (N,) predictions, in the order of the networks; NaN for such rows of a file.

    Raises: FileFormatError for a file with layers that the table does not know, or with such rows alone,
    UnknownNameError for a candidate that it does not know, ArchitectureError for a layer that stands
    behind an absent one of its stage, TableMismatchError for networks of other
    layers, or for an accuracy table of losses without a level.
    """
    if isinstance(networks, (str, Path)):
        found = predict_rows(table, read_networks(Path(networks), values="optional"))
        if found.warning:
            on_note(found.warning)
        return found.values
    choices = [one.choices if isinstance(one, Architecture) else tuple(one) for one in networks]
    grid, space = table.grid if isinstance(table, LatencyTable) else table.loss, ruling_space(table)
    for labels in choices:
        grid.indices(labels)
        if fault := depth_fault(grid, space, labels):
            raise ArchitectureError(fault.text)
    return predict_choices(table, choices)
