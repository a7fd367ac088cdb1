"""A whole run: table and weights, kills at any moment, other settings, and what the weights are good for."""
# ruff: noqa: E402

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from itertools import product
from pathlib import Path
from tempfile import mkdtemp

import numpy as np
import onnxruntime as ort
import pytest

torch = pytest.importorskip("torch", reason="needs the train extra (torch)")
from tiny_training import FINE_TUNE, LABELS, META, SETTINGS, changed, known, one_thread, space, splits

import train.runs.folder
import train.stages.state
from ponas_deploy.errors import PonasError, UnknownNameError, WeightsError
from ponas_deploy.files.weights import read_weights
from ponas_deploy.tables.files import load_accuracy_table
from searchspace import Architecture
from searchspace.graph import INPUT, network_model
from searchspace.weights import inherit
from train.compute import Compute
from train.errors import RunMismatchError
from train.networks import Network, load_arrays
from train.progress import TrainingProgress
from train.runs import TrainResult, train_run
from train.stages import evaluate, inherited_weights

CPU = Compute(torch.device("cpu"))
EVERY = [Architecture(space(), choices) for choices in product(LABELS, repeat=3)]
ACCURATE = replace(SETTINGS, meta=replace(META, epochs=20))


@pytest.fixture(autouse=True)
def _steady(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    known(monkeypatch)
    with one_thread():
        yield


@pytest.fixture
def unbroken() -> TrainResult:
    return _unbroken()


@cache
def _unbroken() -> TrainResult:
    return train_run(SETTINGS, Path(mkdtemp()))


@cache
def _accurate() -> TrainResult:
    return train_run(ACCURATE, Path(mkdtemp()))


def same_outcome(mine: TrainResult, other: TrainResult) -> None:
    assert mine.table.top1 == other.table.top1
    assert mine.best == other.best
    for mine_path, other_path in ((mine.weights, other.weights), (mine.meta, other.meta)):
        a, b = read_weights(mine_path), read_weights(other_path)
        assert a.metadata == b.metadata
        assert a.tensors.keys() == b.tensors.keys()
        assert all(np.array_equal(a.tensors[name], b.tensors[name]) for name in a.tensors)


def test_the_table_names_what_it_was_made_on(unbroken: TrainResult) -> None:
    table = load_accuracy_table(unbroken.table_path)
    assert table.top1 is not None
    assert table.top1.layers == ("1", "2", "3")
    assert table.top1.candidates == (LABELS,) * 3
    assert table.space is not None
    assert (table.space.name, table.space.fingerprint) == ("tiny", space().fingerprint)
    origin = table.origin
    assert origin is not None
    assert (origin.data, origin.resolution, origin.classes, origin.images, origin.seed) == (
        "blobs",
        16,
        3,
        36,
        1,
    )
    assert dict(origin.epochs) == {"meta": 3, "fine_tune": 2}
    details = dict(origin.details)
    assert details["torch"] == torch.__version__
    assert details["fine_tune.lr"] == "0.05"
    assert table.created.startswith("20")


def test_a_finished_run_leaves_only_what_is_of_use(unbroken: TrainResult) -> None:
    names = {path.name for path in unbroken.table_path.parent.iterdir()} - {"tensorboard"}
    assert names == {"accuracy.json", "log.csv", "meta.safetensors", "run.json", "weights.safetensors"}


def test_the_weights_say_what_they_belong_to(unbroken: TrainResult) -> None:
    metadata = read_weights(unbroken.weights).metadata
    expected = {"layout": "supernet", "space": "tiny", "resolution": "16", "classes": "3", "data": "blobs"}
    assert expected.items() <= metadata.items()
    assert metadata["choices"] == unbroken.best.text
    assert read_weights(unbroken.meta).metadata["layout"] == "network"


def test_a_finished_run_is_read_and_not_trained_again(unbroken: TrainResult) -> None:
    stages: list[str] = []
    again = train_run(SETTINGS, unbroken.table_path.parent, lambda progress: stages.append(progress.stage))
    assert set(stages) == {"data"}
    assert again == unbroken


@pytest.mark.parametrize(
    "moment", [("meta", 2), ("meta", 9), ("fine-tune", 3), ("fine-tune", 44), ("fine-tune", 70)]
)
def test_an_interrupted_run_ends_like_an_unbroken_one(
    tmp_path: Path, unbroken: TrainResult, moment: tuple[str, int]
) -> None:
    def interrupt(progress: TrainingProgress) -> None:
        if progress.stage == moment[0] and progress.done >= moment[1]:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_run(SETTINGS, tmp_path, interrupt)
    assert not (tmp_path / "accuracy.json").exists()
    rows: list[str] = []
    result = train_run(SETTINGS, tmp_path, lambda p: rows.append(p.row.layer) if p.row else None)
    assert rows == ["1", "2", "3"]
    same_outcome(result, unbroken)


@pytest.mark.parametrize("write", range(11))
def test_a_disk_that_fails_at_any_write_loses_one_step_at_most(
    tmp_path: Path, unbroken: TrainResult, monkeypatch: pytest.MonkeyPatch, write: int
) -> None:
    """Three epochs, the meta network, two files for each of three layers, the supernet: eleven writes."""
    left, real = write, train.runs.folder.write_weights

    def failing(*arguments: object) -> None:
        nonlocal left
        if left == 0:
            raise PonasError("the disk is full")
        left -= 1
        real(*arguments)  # type: ignore[arg-type]

    with monkeypatch.context() as broken:
        broken.setattr(train.runs.folder, "write_weights", failing)
        broken.setattr(train.stages.state, "write_weights", failing)
        with pytest.raises(PonasError, match="the disk is full"):
            train_run(SETTINGS, tmp_path)
    same_outcome(train_run(SETTINGS, tmp_path), unbroken)


def test_other_settings_are_refused_and_named(unbroken: TrainResult) -> None:
    other = changed(seed=9, fine_tune=replace(FINE_TUNE, lr=0.5))
    before = unbroken.table_path.read_bytes()
    with pytest.raises(
        RunMismatchError, match=r"other settings \(fine_tune.lr was 0.05, now 0.5; seed was 1, now 9\)"
    ):
        train_run(other, unbroken.table_path.parent)
    assert unbroken.table_path.read_bytes() == before


def test_device_and_workers_may_change(unbroken: TrainResult) -> None:
    assert train_run(changed(device="auto", workers=2), unbroken.table_path.parent) == unbroken


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"data": "pictures"}, "unknown data set 'pictures'"),
        ({"space": "mars"}, "unknown space 'mars'"),
        ({"device": "abacus"}, "unknown device to train on 'abacus': known are auto, cpu, cuda"),
    ],
)
def test_unknown_names_list_what_exists(tmp_path: Path, change: dict[str, str], message: str) -> None:
    with pytest.raises(UnknownNameError, match=message):
        train_run(changed(**change), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_cuda_device_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(PonasError, match="torch finds no CUDA device"):
        train_run(changed(device="cuda"), tmp_path)


@pytest.mark.parametrize("part", [META, FINE_TUNE])
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"epochs": 0}, r"0 epochs of .*: at least 1 is needed"),
        ({"batch": 1}, r"a batch of 1 in .*: batch norm needs at least 2 images"),
        ({"lr": float("nan")}, r"a learning rate of nan in .*: it must be above 0"),
    ],
)
def test_settings_that_cannot_train_are_refused(part: object, change: dict[str, float], message: str) -> None:
    with pytest.raises(PonasError, match=message):
        replace(part, **change)  # type: ignore[type-var]


def test_an_unknown_scope_lists_those_that_exist() -> None:
    with pytest.raises(UnknownNameError, match="'world': known are candidates, path"):
        replace(FINE_TUNE, scope="world")  # type: ignore[arg-type]


def test_files_of_someone_else_are_not_touched(tmp_path: Path) -> None:
    (tmp_path / "accuracy.json").write_text("precious")
    with pytest.raises(PonasError, match=r"accuracy.json exists already"):
        train_run(SETTINGS, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["accuracy.json"]


def test_the_callers_random_numbers_are_left_alone(tmp_path: Path) -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    train_run(SETTINGS, tmp_path)
    assert torch.equal(torch.rand(3), expected)


def onnx_logits(architecture: Architecture, weights: dict[str, np.ndarray], images: np.ndarray) -> np.ndarray:
    data = network_model(architecture, weights, len(images)).SerializeToString()
    session = ort.InferenceSession(data, providers=["CPUExecutionProvider"])
    return session.run(None, {INPUT: images})[0]


def test_every_architecture_inherits_and_runs_through_onnx_with_the_same_logits(
    unbroken: TrainResult,
) -> None:
    supernet = read_weights(unbroken.weights).tensors
    images = next(splits().test.batches(4))[0]
    for architecture in EVERY:
        weights, network = inherit(supernet, architecture), Network(architecture)
        load_arrays(network, weights)
        with torch.inference_mode():
            expected = network.eval()(images).numpy()
        found = onnx_logits(architecture, weights, images.numpy())
        assert np.abs(found - expected).max() < 1e-4 * np.abs(expected).max(), architecture.text


def top1(architecture: Architecture, weights: dict[str, np.ndarray]) -> float:
    network = Network(architecture)
    load_arrays(network, weights)
    return evaluate(network, splits().test, CPU).top1_pct


def test_the_best_network_is_accurate_as_it_comes() -> None:
    result = _accurate()
    assert top1(result.best, inherit(read_weights(result.weights).tensors, result.best)) > 80


def test_a_specialized_network_gains_from_recalibration_and_fine_tuning() -> None:
    result, smallest = _accurate(), EVERY[0]
    options = {"batch": 16, "device": "cpu"}
    inherited = top1(smallest, inherit(read_weights(result.weights).tensors, smallest))
    calibrated = top1(smallest, inherited_weights(smallest, result.weights, splits(), **options))
    tuned = top1(
        smallest, inherited_weights(smallest, result.weights, splits(), finetune_epochs=6, lr=0.05, **options)
    )
    assert calibrated >= inherited
    assert tuned > 80


def test_specialized_weights_are_float32_and_fixed_by_the_seed(unbroken: TrainResult) -> None:
    options = {"finetune_epochs": 1, "batch": 16, "device": "cpu"}
    first, again, other = (
        inherited_weights(EVERY[5], unbroken.weights, splits(), seed=seed, **options) for seed in (1, 1, 2)
    )
    assert {array.dtype for array in first.values()} == {np.dtype(np.float32)}
    assert all(np.array_equal(first[name], again[name]) for name in first)
    assert any(not np.array_equal(first[name], other[name]) for name in first)


def test_recalibration_alone_changes_nothing_but_running_statistics(unbroken: TrainResult) -> None:
    before = inherit(read_weights(unbroken.weights).tensors, EVERY[7])
    after = inherited_weights(EVERY[7], unbroken.weights, splits(), batch=16, device="cpu")
    different = {name for name in before if not np.array_equal(before[name], after[name])}
    assert different
    assert all(name.rsplit(".", 1)[1] in ("running_mean", "running_var") for name in different)


def test_the_meta_file_is_a_network_of_its_own(unbroken: TrainResult) -> None:
    meta = Architecture(space(), ("k5e6se",) * 3)
    assert inherited_weights(meta, unbroken.meta, splits(), batch=16, device="cpu").keys()
    with pytest.raises(WeightsError):
        inherited_weights(EVERY[0], unbroken.meta, splits(), batch=16, device="cpu")


def test_images_of_another_size_or_number_of_classes_are_refused(unbroken: TrainResult) -> None:
    other = Architecture(space(resolution=32, classes=5), EVERY[0].choices)
    with pytest.raises(PonasError, match="made for 5 classes at 32 px, but 'blobs' has 3 classes at 16 px"):
        inherited_weights(other, unbroken.weights, splits())
