"""What INT8 loses is measured before a search and counted in it; where it cannot be, INT8 is left out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from conftest import tiny_space
from ponas_deploy.backends import Session
from ponas_deploy.commands.reports.engine import engine_report
from ponas_deploy.engines.accuracy import Accuracy, measure
from ponas_deploy.engines.attempts import next_attempt
from ponas_deploy.engines.documents import engine_document
from ponas_deploy.engines.engine import Engine
from ponas_deploy.engines.loop import meet_budget
from ponas_deploy.engines.manifest_file import read_manifest
from ponas_deploy.engines.precision_loss import why_not_measured, with_losses
from ponas_deploy.engines.quantised import NOT_COUNTED
from ponas_deploy.engines.task import Task, Validation, WeightsSource, random_source
from ponas_deploy.errors import PonasError
from ponas_deploy.files.weights import read_weights
from ponas_deploy.machines.machine import this_machine
from ponas_deploy.measuring.place import HERE
from ponas_deploy.profiling.target import Target
from ponas_deploy.search.budget import Budget
from ponas_deploy.tables.accuracy import AccuracyTable
from ponas_deploy.tables.accuracy_file import write_accuracy_table
from ponas_deploy.tables.grid import Grid, SpaceKey
from ponas_deploy.tables.latency import Conditions, LatencyTable
from ponas_deploy.tables.latency_file import write_latency_table
from ponas_deploy.tables.store import StoredAccuracy, StoredTable
from rendered import shown
from searchspace import SPACES
from trained_digits import ARCHITECTURE, WEIGHTS, held_out, scale_images

Through = Callable[[Session, int], Accuracy]


@pytest.fixture(autouse=True)
def _tiny_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SPACES, "tiny", tiny_space)


def planted(int8_pct: float) -> Through:
    """An accuracy of 90 % in full precision."""
    return lambda session, batch: Accuracy(int8_pct if session.settings().precision == "int8" else 90, 99, 50)


def source(through: Through) -> WeightsSource:
    tensors = read_weights(WEIGHTS).tensors
    return WeightsSource(
        "trained on digits",
        lambda architecture: tensors,
        images=scale_images,
        validation=Validation(lambda architecture: tensors, through, "validation images of digits"),
    )


def table(folder: Path, precision: str, ms: float) -> StoredTable:
    space = tiny_space()
    grid = Grid.over(space, ([ms] * len(layer.candidates) for layer in space.layers))
    conditions = Conditions(this_machine().name, "onnxruntime", precision, 1, 1)
    found = LatencyTable(grid, SpaceKey.of(space), conditions, statistic="median", created="2026-01-01")
    write_latency_table(found, folder / f"{precision}.json")
    return StoredTable(folder / f"{precision}.json", found)


def task(folder: Path, weights: WeightsSource, budget_ms: float = 1e4) -> Task:
    """Any network but that of the weights loses 20 points; INT8 is twice as fast."""
    space = tiny_space()
    rows = (
        [0.0 if label == chosen else 20.0 for label in layer.labels]
        for layer, chosen in zip(space.layers, ARCHITECTURE.choices, strict=True)
    )
    losses = AccuracyTable(Grid.over(space, rows), space=SpaceKey.of(space), created="2026-01-01")
    write_accuracy_table(losses, folder / "accuracy.json")
    tables = table(folder, "fp32", 200.0), table(folder, "int8", 100.0)
    accuracy = StoredAccuracy(folder / "accuracy.json", losses)
    return Task(tables, accuracy, Budget(latency_ms=budget_ms), space, weights)


def test_the_drop_through_real_engines_is_counted_and_stands_in_every_output(tmp_path: Path) -> None:
    images, labels = held_out()

    def through(session: Session, batch: int) -> Accuracy:
        single = ((images[place : place + 1], labels[place : place + 1]) for place in range(120))
        return measure(session, single, batch)

    said = list[str]()
    counted = with_losses(task(tmp_path, source(through)), HERE, named=False, on_note=said.append)
    (loss,) = counted.precision_losses
    assert (loss.backend, loss.precision, loss.images) == ("onnxruntime", "int8", 120)
    assert len(loss.drops_points) == 1
    assert 0 <= loss.points < 3
    assert said[-1] == loss.text
    assert "points lost, measured on 1 network, 120 validation images of digits" in loss.text
    done = meet_budget(counted, tmp_path / "engine")
    manifest = read_manifest(tmp_path / "engine")
    assert manifest.precision_losses == (loss,)
    (gain,) = manifest.precision_gains
    assert (gain.predicted_ms, gain.other, gain.other_ms) == (300.0, "fp32", 600.0)
    document = engine_document(manifest, done.folder)
    assert (document.precision_losses, document.precision_gains) == ((loss,), (gain,))
    report = " ".join(shown(engine_report(Engine(done.folder, manifest))).split())
    assert "measured on 1 network, 120 validation images of digits" in report
    assert "takes 300 ms in int8 and 600 ms in fp32" in report


@pytest.mark.parametrize(("int8_pct", "chosen"), [(90.0, "int8"), (91.0, "int8"), (85.0, "fp32")])
def test_int8_is_chosen_where_it_loses_less_than_it_gains(
    int8_pct: float, chosen: str, tmp_path: Path
) -> None:
    given = task(tmp_path, source(planted(int8_pct)))
    counted = with_losses(given, HERE, named=False, on_note=lambda text: None)
    first = next_attempt(counted, (), None)
    assert first
    assert first.conditions.precision == chosen
    assert counted.of(given.tables[1]).accuracy.table.loss_pp(ARCHITECTURE.choices) == max(0.0, 90 - int8_pct)
    assert counted.of(given.tables[0]).accuracy.table.loss_pp(ARCHITECTURE.choices) == 0
    again = counted.of(given.tables[1])
    assert again.of(given.tables[1]) == again


def test_what_fits_in_int8_alone_is_still_found(tmp_path: Path) -> None:
    counted = with_losses(
        task(tmp_path, source(planted(85.0)), budget_ms=400.0), HERE, named=True, on_note=lambda text: None
    )
    found = next_attempt(counted, (), None)
    assert found
    assert (found.conditions.precision, found.choice.predicted_loss_pp) == ("int8", 5.0)


def test_where_nothing_can_be_measured_int8_is_left_out_or_said_to_be_uncounted(tmp_path: Path) -> None:
    def broken(session: Session, batch: int) -> Accuracy:
        raise PonasError("the engine answers with NaN or infinity: export it again, or in fp32.")

    said = list[str]()
    given = task(tmp_path, source(broken))
    left = with_losses(given, HERE, named=False, on_note=said.append)
    assert [one.conditions.precision for one in left.tables] == ["fp32"]
    assert "int8 in onnxruntime is left out: what it loses could not be measured." in said[-1]
    with pytest.raises(PonasError, match="NaN"):
        with_losses(given, HERE, named=True, on_note=said.append)
    assert with_losses(replace(given, weights=random_source()), HERE, named=True, on_note=said.append)
    assert said[-1] == NOT_COUNTED
    alone = replace(given, tables=given.tables[1:])
    assert with_losses(alone, HERE, named=True, on_note=said.append) is alone


def test_why_int8_is_left_out_names_the_next_step() -> None:
    assert "Name trained ones with --weights" in why_not_measured(random_source(), HERE)
    unlabelled = WeightsSource("mine", lambda architecture: {}, images=lambda: np.zeros((1, 3, 32, 32), "f4"))
    assert "no labelled images" in why_not_measured(unlabelled, HERE)
    assert "Name the data set of the weights with --data" in why_not_measured(unlabelled, HERE)
    assert why_not_measured(source(planted(90.0)), HERE) == ""
    assert "not measured here" in why_not_measured(source(planted(90.0)), None)


def test_auto_is_a_precision_that_stands_for_none_named() -> None:
    assert Target("cpu", precisions="auto") == Target("cpu")
    with pytest.raises(PonasError, match="auto stands for all of them"):
        Target("cpu", precisions=("auto", "fp32"))
