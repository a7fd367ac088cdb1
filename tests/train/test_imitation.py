"""The common start of a supernet's candidates: one network trains, and the others imitate its layers."""
# ruff: noqa: E402

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the train extra (torch)")
import tiny_paths
from tiny_elastic import fit
from tiny_paths import SETTINGS, SINGLE
from tiny_training import CPU, one_thread, splits

from ponas_deploy.errors import FileFormatError, PonasError
from ponas_deploy.files.weights import read_weights
from train.files import RunPaths, read_status
from train.networks import Network
from train.networks.paths import PathSupernet
from train.progress import OnProgress, TrainingProgress, silent
from train.runs import TrainResult, fitted_run
from train.settings import SinglePathSettings
from train.stages import path_supernet, train_first, train_imitation

STARTED = replace(SINGLE, epochs=2, first_epochs=6, imitation_epochs=8)


@pytest.fixture(autouse=True)
def _steady(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    tiny_paths.known(monkeypatch)
    with one_thread():
        yield


def first(epochs: int = 6) -> Network:
    return train_first(tiny_paths.space(), splits(), replace(SINGLE, epochs=epochs), seed=1, compute=CPU)


def imitating(
    teacher: Network, epochs: int, on_progress: OnProgress = silent, state: Path | None = None
) -> PathSupernet:
    supernet = path_supernet(tiny_paths.space(), SINGLE, seed=1, compute=CPU)
    train_imitation(
        supernet,
        teacher,
        splits(),
        replace(SINGLE, epochs=epochs),
        seed=1,
        compute=CPU,
        state=state,
        on_progress=on_progress,
    )
    return supernet


def test_the_first_network_is_that_of_first_candidates() -> None:
    assert first().architecture.choices == ("mb_k3e3",) * 3


def test_candidates_learn_to_give_what_the_teacher_gives() -> None:
    teacher, reports = first(30), list[TrainingProgress]()
    supernet = imitating(teacher, 30, reports.append)
    losses = [dict(report.metrics)["loss"] for report in reports if report.milestone]
    assert losses[-1] < 0.5 * losses[0]
    mean = dict(reports[-1].metrics)["mean_top1_pct"]
    assert mean > 60, "of random networks, before any of them has trained; 33 is chance"
    for name, tensor in teacher.state_dict().items():
        own = name if not name.startswith("layers.") else name[:8] + ".mb_k3e3" + name[8:]
        assert torch.equal(supernet.state_dict()[own], tensor), f"{own} is the teacher's"


def test_a_space_whose_other_candidates_have_no_weights_takes_over_the_teacher() -> None:
    space = tiny_paths.space()
    places = ((0,), (0,), (0, -1))  # the last one is the identity
    layers = tuple(
        replace(layer, candidates=tuple(layer.candidates[place] for place in kept))
        for layer, kept in zip(space.layers, places, strict=True)
    )
    narrow = replace(space, layers=layers)
    teacher = train_first(narrow, splits(), replace(SINGLE, epochs=1), seed=1, compute=CPU)
    supernet = path_supernet(narrow, SINGLE, seed=1, compute=CPU)
    train_imitation(supernet, teacher, splits(), SINGLE, seed=1, compute=CPU)
    assert torch.equal(
        supernet.stem.state_dict()["conv.conv.weight"], teacher.state_dict()["stem.conv.conv.weight"]
    )


def test_a_broken_off_imitation_ends_as_an_unbroken_one(tmp_path: Path) -> None:
    def kill(progress: TrainingProgress) -> None:
        if progress.done == 10:  # of 16 steps: in the middle of the third epoch
            raise KeyboardInterrupt

    teacher, state = first(), tmp_path / "state.safetensors"
    with pytest.raises(KeyboardInterrupt):
        imitating(teacher, 4, kill, state)
    mine, whole = imitating(teacher, 4, state=state).state_dict(), imitating(teacher, 4).state_dict()
    assert all(torch.equal(mine[name], whole[name]) for name in whole)


def finished(folder: Path, on_progress: OnProgress = silent) -> TrainResult:
    result = fitted_run(replace(SETTINGS, single_path=STARTED), folder, fit, on_progress)
    assert result is not None
    return result


@cache
def unbroken() -> TrainResult:
    return finished(Path(mkdtemp()))


def test_a_run_with_a_common_start_leaves_what_every_run_leaves() -> None:
    result = unbroken()
    assert not (result.weights.parent / "steps").exists()
    assert result.table.origin is not None
    assert dict(result.table.origin.epochs) == {"first": 6, "imitation": 8, "supernet": 2}


@pytest.mark.parametrize("moment", [("first", 6), ("imitation", 10), ("supernet", 6)])
def test_an_interrupted_run_ends_like_an_unbroken_one(tmp_path: Path, moment: tuple[str, int]) -> None:
    def interrupt(progress: TrainingProgress) -> None:
        if (progress.stage, progress.done) == moment:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        finished(tmp_path, interrupt)
    assert read_status(tmp_path).stage == moment[0]
    mine, other = read_weights(finished(tmp_path).weights), read_weights(unbroken().weights)
    assert all(np.array_equal(mine.tensors[name], other.tensors[name]) for name in other.tensors)


def test_a_kept_step_of_another_space_is_named(tmp_path: Path) -> None:
    def interrupt(progress: TrainingProgress) -> None:
        if progress.stage == "supernet":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        finished(tmp_path, interrupt)
    step = RunPaths(tmp_path).step("imitation")
    step.write_bytes(RunPaths(tmp_path).step("first").read_bytes())
    with pytest.raises(FileFormatError, match="is not a supernet of this run"):
        finished(tmp_path)


@pytest.mark.parametrize("given", [{"first_epochs": 3}, {"imitation_epochs": 3}])
def test_imitation_and_its_first_network_go_together(given: dict[str, int]) -> None:
    with pytest.raises(PonasError, match="give epochs to both, or to neither"):
        SinglePathSettings(**given)  # type: ignore[arg-type]
