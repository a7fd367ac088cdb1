"""Which spaces a recipe trains, which call trains by it, and what a run of single paths reads and leaves."""
# ruff: noqa: E402

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="needs the train extra (torch)")
import tiny_elastic
import tiny_paths
from tiny_elastic import fit
from tiny_paths import SETTINGS, SINGLE
from tiny_training import CPU, changed, one_thread, space, splits
from torch import Tensor

from ponas_deploy.errors import PonasError
from searchspace import Space, SpaceError
from train.compute import WHOLE, Share
from train.data import Batch, TensorImages
from train.files import RunPaths
from train.progress import TrainingProgress
from train.runs import TrainResult, fitted_run, train_run
from train.settings import TrainSettings
from train.settings.single_path import Sampling
from train.stages import path_supernet, train_single_path


@pytest.fixture(autouse=True)
def _steady(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    tiny_paths.known(monkeypatch)
    tiny_elastic.known(monkeypatch)
    with one_thread():
        yield


def fitted(settings: TrainSettings, folder: Path) -> TrainResult | None:
    return fitted_run(settings, folder, fit)


@pytest.mark.parametrize(
    ("train", "settings", "other"),
    [
        (train_run, changed(recipe="single-path"), "the recipe single-path.*train.runs.fitted_run"),
        (train_run, changed(space="elastic"), "the recipe shrinking.*train.runs.fitted_run"),
        (fitted, changed(), "the recipe progressive.*train.runs.train_run"),
    ],
)
def test_a_run_of_another_recipe_names_the_call_that_trains_by_it(
    tmp_path: Path,
    train: Callable[[TrainSettings, Path], object],
    settings: TrainSettings,
    other: str,
) -> None:
    with pytest.raises(PonasError, match=other):
        train(settings, tmp_path / "run")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("sampling", ["uniform", "strict-fairness", "fairnas"])
def test_single_paths_refuse_a_space_with_stages_before_anything_is_written(
    tmp_path: Path, sampling: Sampling
) -> None:
    asked = changed(space="elastic", recipe="single-path", single_path=replace(SINGLE, sampling=sampling))
    with pytest.raises(SpaceError, match=r"space 'elastic' leaves out layers .*recipe=shrinking"):
        fitted(asked, tmp_path / "run")
    assert list(tmp_path.iterdir()) == []


def test_single_paths_refuse_a_space_of_one_network_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(SpaceError, match=r"one network, .* `ponas train specialized MnasNet-A1`"):
        fitted(changed(space="MnasNet-A1", recipe="single-path"), tmp_path / "run")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("label", ["k3e3", "k5e3", "k3e6se"])
def test_a_space_of_two_networks_trains_path_by_path(label: str) -> None:
    reports = list[TrainingProgress]()
    supernet = path_supernet(_of_two(label), SINGLE, seed=1, compute=CPU)
    train_single_path(supernet, splits(), SINGLE, seed=1, compute=CPU, on_progress=reports.append)
    assert 0 <= dict(reports[-1].metrics)["mean_top1_pct"] <= 100


def _of_two(label: str) -> Space:
    """Two candidates in the last layer, one in the others."""
    first, second, third = (
        replace(layer, candidates=tuple(one for one in layer.candidates if one.label in labels))
        for layer, labels in zip(space().layers, ([label], [label], [label, "k5e6se"]), strict=True)
    )
    return replace(space(), layers=(first, second, third))


@dataclass(frozen=True)
class Decoded:
    """Images in memory that count how many of them were read."""

    images: TensorImages
    counts: list[int] = field(default_factory=list)

    @property
    def labels(self) -> Tensor:
        return self.images.labels

    def batches(
        self, size: int, order: Tensor | None = None, augment: int | None = None, share: Share = WHOLE
    ) -> Iterator[Batch]:
        for batch in self.images.batches(size, order, augment, share):
            self.counts.append(len(batch[1]))
            yield batch


def test_the_networks_shown_after_an_epoch_are_evaluated_on_images_that_are_read_once() -> None:
    plain = splits()
    assert isinstance(plain.validation, TensorImages)
    validation = Decoded(plain.validation)
    settings = replace(SINGLE, epochs=2)
    supernet = path_supernet(space(), settings, seed=1, compute=CPU)
    train_single_path(supernet, replace(plain, validation=validation), settings, seed=1, compute=CPU)
    assert sum(validation.counts) == 3 * len(validation.labels), "before the first epoch and after each"


def test_a_state_that_a_killed_run_left_beside_its_weights_is_removed(tmp_path: Path) -> None:
    settings = replace(SETTINGS, single_path=replace(SINGLE, epochs=8))
    result = fitted(settings, tmp_path)
    assert result is not None
    state = RunPaths(tmp_path).supernet_state
    shutil.copy(result.weights, state)
    fitted(settings, tmp_path)
    assert result.weights.exists()
    assert not state.exists()
