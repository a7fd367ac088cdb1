"""Progressive shrinking: its steps, channels in order of importance, and whole runs with all they leave."""
# ruff: noqa: E402

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the train extra (torch)")
from tiny_elastic import SUBNETS, fit, images, known, random_network, space
from tiny_training import CPU, one_thread, splits
from typer.testing import CliRunner

import train.data
from photos import fill
from ponas_deploy.commands import app
from ponas_deploy.errors import PonasError, SpaceError
from ponas_deploy.files.weights import read_weights
from ponas_deploy.tables.files import load_accuracy_table
from searchspace import Architecture, build_space
from train.data import TensorImages
from train.files import read_status
from train.networks import sort_channels
from train.progress import OnProgress, TrainingProgress, silent
from train.runs import TrainResult, fitted_run, train_run
from train.settings import ElasticSettings, ShrinkSettings, TrainSettings, assigned
from train.stages import Opening, Statistics, Supernet, shrink_steps

STEP = ElasticSettings(epochs=1, lr=0.05, epochs_between=1, lr_between=0.05, subnets=2)
ONE = replace(STEP, epochs_between=0)
SHRINK = ShrinkSettings(epochs=8, lr=0.1, batch=16, threads=1, kernel=STEP, depth=ONE, width=ONE, networks=20)
SETTINGS = TrainSettings("blobs", "elastic", seed=1, device="cpu", workers=1, shrink=SHRINK)
QUICK = (
    "shrink.epochs=2", "shrink.batch=16", "shrink.kernel.epochs=1", "shrink.depth.epochs=1",
    "shrink.width.epochs=1", "shrink.depth.epochs_between=0", "shrink.width.epochs_between=0",
    "shrink.networks=20", "workers=1",
)  # fmt: skip
GIVEN = ["train", "--data", "blobs", "--space", "elastic", "--preset", "quick", "--device", "cpu"]
GIVEN += ["--out", "run", *(part for pair in QUICK for part in ("--set", pair))]


@pytest.fixture(autouse=True)
def _steady(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    known(monkeypatch)
    monkeypatch.setenv("NO_COLOR", "1")
    with one_thread():
        yield


def finished(
    folder: Path, on_progress: OnProgress = silent, settings: TrainSettings = SETTINGS
) -> TrainResult:
    result = fitted_run(settings, folder, fit, on_progress)
    assert result is not None
    return result


def rows_of(result: TrainResult) -> list[list[str]]:
    """The evaluated subnets: their labels and top-1."""
    lines = result.weights.with_name("subnets-fit-1.csv").read_text().splitlines()
    return [line.split(",") for line in lines[1:]]


@pytest.fixture
def unbroken() -> TrainResult:
    return _unbroken()


@cache
def _unbroken() -> TrainResult:
    return finished(Path(mkdtemp()))


def test_the_papers_steps_are_those_of_figure_3() -> None:
    steps = shrink_steps(build_space("ofa-mbv3"), ShrinkSettings())
    assert [(step.name, step.epochs, step.lr, step.subnets) for step in steps] == [
        ("kernel-3", 120, 0.96, 1),
        ("depth-2", 25, 0.08, 2),
        ("depth-3", 120, 0.24, 2),
        ("width-2", 25, 0.08, 4),
        ("width-3", 120, 0.24, 4),
    ]
    assert [step.opening for step in steps] == [
        Opening(3, 1, 1), Opening(3, 2, 1), Opening(3, 3, 1), Opening(3, 3, 2), Opening(3, 3, 3),
    ]  # fmt: skip
    assert [(step.earlier, step.later) for step in steps[1:3]] == [(0, 120), (25, 0)]


def test_a_step_between_opens_one_size_more() -> None:
    names = [step.name for step in shrink_steps(space(), replace(SHRINK, width=STEP))]
    assert names == ["kernel-2", "kernel-3", "depth-3", "width-2", "width-3"]


def test_sorting_channels_changes_no_logits_of_a_network_that_has_them_all() -> None:
    plain, ordered = random_network(), random_network()
    sort_channels(ordered)
    for labels in (SUBNETS[0], "k3e4,absent,k5e4,k7e4,absent"):
        for network in (plain, ordered):
            network.activate(Architecture.from_text(space(), labels))
        with torch.no_grad():
            assert torch.allclose(plain(images()), ordered(images()), atol=1e-5)
    for name in "ABCDE":
        weight = ordered.get_parameter(f"layers.{name}.project.conv.weight").abs().sum((0, 2, 3))
        assert torch.equal(weight, weight.sort(descending=True).values)
        before = plain.get_parameter(f"layers.{name}.project.conv.weight").abs().sum((0, 2, 3))
        assert not torch.equal(before, weight)
        assert torch.equal(before.sort().values, weight.sort().values)
    hidden = ordered.get_parameter("layers.D.se.expand.weight").abs().sum((0, 2, 3))
    assert torch.equal(hidden, hidden.sort(descending=True).values)


def test_a_run_leaves_a_supernet_of_which_every_subnet_can_be_had(unbroken: TrainResult) -> None:
    folder = unbroken.weights.parent
    names = {path.name for path in folder.iterdir()} - {"tensorboard"}
    assert names == {
        "accuracy.json", "log.csv", "meta.safetensors", "run.json", "subnets-fit-1.csv",
        "subnets-fit-1.journal", "weights.safetensors",
    }  # fmt: skip
    file = read_weights(folder / "weights.safetensors")
    assert file.elastic
    expected = {"space": "elastic", "fingerprint": space().fingerprint, "resolution": "16", "classes": "3"}
    assert expected.items() <= file.metadata.items()
    for labels in SUBNETS:
        file.inherited(Architecture.from_text(space(), labels))
    assert "layers.A.depthwise.conv.matrix.5" in file.shared
    assert not np.array_equal(file.shared["layers.A.depthwise.conv.matrix.5"], np.eye(25))
    best = max(rows_of(unbroken), key=lambda row: float(row[-1]))
    assert len(rows_of(unbroken)) == 20
    assert [*unbroken.best.choices] in [row[:-1] for row in rows_of(unbroken) if row[-1] == best[-1]]
    origin = unbroken.table.origin
    assert origin is not None
    assert dict(origin.details)["shrink.kernel.subnets"] == "2"
    assert dict(origin.epochs) == {"largest": 8, "kernel": 2, "depth": 1, "width": 1}
    asked = json.loads((folder / "run.json").read_text())["settings"]
    assert asked["shrink.kernel.subnets"] == 2
    assert not [name for name in asked if name.startswith(("meta.", "fine_tune."))]


@pytest.mark.parametrize("moment", [("largest", 30), ("kernel", 5), ("width", 3), ("subnets", 8)])
def test_an_interrupted_run_ends_like_an_unbroken_one(
    tmp_path: Path, unbroken: TrainResult, moment: tuple[str, int]
) -> None:
    def interrupt(progress: TrainingProgress) -> None:
        if progress.stage == moment[0] and progress.done >= moment[1]:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fitted_run(SETTINGS, tmp_path, fit, interrupt)
    seen: list[tuple[str, int]] = []
    result = finished(tmp_path, lambda progress: seen.append((progress.stage, progress.done)))
    assert min((done for stage, done in seen if stage == moment[0]), default=20) > 0
    mine, other = read_weights(result.weights), read_weights(unbroken.weights)
    assert mine.metadata == other.metadata
    assert mine.shared.keys() == other.shared.keys()
    assert all(np.array_equal(mine.shared[name], other.shared[name]) for name in mine.shared)
    assert rows_of(result) == rows_of(unbroken)
    assert result.table.loss == unbroken.table.loss


def test_both_ends_of_the_supernet_learn(tmp_path: Path) -> None:
    step = replace(ONE, epochs=4)
    shrink = replace(SHRINK, epochs=16, kernel=step, depth=step, width=step)
    reports: list[TrainingProgress] = []
    result = finished(tmp_path, reports.append, replace(SETTINGS, shrink=shrink))
    last = dict([report for report in reports if report.stage == "width"][-1].metrics)
    assert last["validation_top1_pct"] > 75
    assert last["smallest_top1_pct"] > 60
    assert np.mean([float(row[-1]) for row in rows_of(result)]) > 60


def test_the_command_ends_with_a_fitted_table_that_other_commands_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, [*GIVEN, "--json"], catch_exceptions=False)
    assert done.exit_code == 0, done.stderr
    said = json.loads(done.stdout)
    table = load_accuracy_table(tmp_path / "run" / "accuracy.json")
    assert table.origin is not None
    assert table.space is not None
    assert (table.origin.method, table.space.name) == ("fitted", "elastic")
    assert dict(table.origin.epochs) == {"largest": 2, "kernel": 1, "depth": 1, "width": 1}
    Architecture(space(), tuple(said["best"]))
    status = read_status(tmp_path / "run")
    assert status.stage == "done"
    assert "shrink.batch=16" in status.settings
    again = CliRunner().invoke(app, [*GIVEN, "--json"], catch_exceptions=False)
    assert json.loads(again.stdout) == said
    other = ["train", "table", "--run", "run", "--device", "cpu"]
    refused = CliRunner().invoke(app, [*other, "--method", "progressive"])
    assert refused.exit_code == 1
    assert "run has no progressive table, because its layers were not fine-tuned" in refused.stderr
    fitted = CliRunner().invoke(app, [*other, "--networks", "20", "--json"], catch_exceptions=False)
    assert json.loads(fitted.stdout)["table"] == "run/accuracy-fitted.json"


def test_the_command_says_where_a_stopped_run_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(progress: TrainingProgress) -> None:
        if progress.stage == "depth":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fitted_run(SETTINGS, tmp_path, fit, interrupt)
    status = read_status(tmp_path)
    assert status.stage == "kernel"
    assert status.last is not None
    assert (status.last.at, status.last.step, status.last.steps) == ("epoch 2 of 2", 8, 8)


@pytest.mark.parametrize(
    ("pair", "words"),
    [
        ("meta.epochs=3", "meta.epochs changes nothing in space 'ofa-mbv3'"),
        ("shrink.networks=3", "shrink.networks is 3: it must be 20 or more"),
        ("shrink.depth.subnets=0", "shrink.depth.subnets is 0: it must be 1 or more"),
        ("shrink.depth.lr_between=-1", "a learning rate of -1 in an elastic dimension"),
    ],
)
def test_a_setting_that_cannot_be_is_refused_by_its_name(pair: str, words: str) -> None:
    with pytest.raises(PonasError, match=words):
        assigned(TrainSettings(space="ofa-mbv3"), [pair])


def test_each_space_has_its_recipe(tmp_path: Path) -> None:
    with pytest.raises(PonasError, match=r"shrink\.batch changes nothing in space 'ponas'.*meta\.epochs"):
        assigned(TrainSettings(), ["shrink.batch=8"])
    with pytest.raises(SpaceError, match="train it by progressive shrinking"):
        train_run(replace(SETTINGS, recipe="progressive"), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_images_that_are_too_few_or_a_wrong_size_are_refused_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = replace(splits(), validation=TensorImages(torch.zeros(17, 3, 16, 16), torch.zeros(17).long()))
    monkeypatch.setitem(train.data.SOURCES, "few", lambda *_, **__: few)
    with pytest.raises(PonasError, match="17 to compare networks by, which is too few"):
        fitted_run(replace(SETTINGS, data="few"), tmp_path, fit)
    with pytest.raises(SpaceError, match="multiples of 4 pixels, take 128 or 132"):
        fitted_run(TrainSettings("no-images", "ofa-mbv3", resolution=130), tmp_path, fit)
    assert list(tmp_path.iterdir()) == []


def test_small_images_are_said_before_the_folder_is_claimed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Photos of 25 to 40 px."""
    monkeypatch.setenv("PONAS_CACHE", str(tmp_path / "cache"))

    def interrupt(progress: TrainingProgress) -> None:
        if progress.note and "are smaller than 32 px" in progress.text:
            raise KeyboardInterrupt

    settings = replace(SETTINGS, data=str(fill(tmp_path / "photos", 50)), resolution=32)
    with pytest.raises(KeyboardInterrupt):
        fitted_run(settings, tmp_path / "run", fit, interrupt)
    assert not (tmp_path / "run" / "run.json").exists()


def test_momentum_may_be_zero(tmp_path: Path) -> None:
    def interrupt(progress: TrainingProgress) -> None:
        if progress.milestone:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fitted_run(replace(SETTINGS, shrink=replace(SHRINK, momentum=0.0)), tmp_path, fit, interrupt)
    assert read_status(tmp_path).asked["shrink.momentum"] == 0


def test_the_stored_statistics_are_those_of_the_largest_subnet(unbroken: TrainResult) -> None:
    supernet = Supernet(space(), read_weights(unbroken.weights).tensors, CPU, elastic=True)
    largest = supernet.network(tuple(SUBNETS[0].split(",")))
    stored = {name: tensor.clone() for name, tensor in largest.state_dict().items()}
    Statistics.of_subnets(splits(), 1, elastic=True).measure([largest], CPU)
    for name, tensor in largest.state_dict().items():
        assert torch.allclose(stored[name], tensor, atol=1e-6), name
