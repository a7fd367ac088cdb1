"""Training path by path: which candidates train in a step, how their weights move, and whole runs."""
# ruff: noqa: E402

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from itertools import combinations
from pathlib import Path
from tempfile import mkdtemp

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the train extra (torch)")
import tiny_paths
from tiny_elastic import fit
from tiny_paths import SETTINGS, SINGLE, known
from tiny_training import CPU, LABELS, changed, one_thread, space, splits
from torch import Tensor, nn
from typer.testing import CliRunner

from ponas_deploy.commands import app
from ponas_deploy.errors import PonasError, UnknownNameError
from ponas_deploy.files.weights import read_weights
from searchspace import Architecture
from train.errors import RunMismatchError
from train.files import read_status
from train.networks.paths import Paths, PathSupernet
from train.progress import OnProgress, TrainingProgress, silent
from train.runs import TrainResult, fitted_run, train_run
from train.settings import SinglePathSettings, TrainSettings, assigned
from train.settings.single_path import Sampling
from train.stages import path_supernet, train_single_path
from train.stages.single_path import linear, smoothed

Key = tuple[str, str]
"""A layer's name and a candidate's label."""


@pytest.fixture(autouse=True)
def _steady(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    known(monkeypatch)
    monkeypatch.setenv("NO_COLOR", "1")
    with one_thread():
        yield


def trained(settings: SinglePathSettings, **more: object) -> PathSupernet:
    supernet = path_supernet(space(), settings, seed=1, compute=CPU)
    train_single_path(supernet, splits(), settings, seed=1, compute=CPU, **more)  # type: ignore[arg-type]
    return supernet


def seen_by(monkeypatch: pytest.MonkeyPatch, look: Callable[[PathSupernet], None]) -> None:
    """Let `look` see the supernet that will be trained."""

    def build(space: tiny_paths.Space, paths: Paths) -> PathSupernet:
        supernet = PathSupernet(space, paths)
        look(supernet)
        return supernet

    monkeypatch.setattr("train.stages.single_path.PathSupernet", build)


def candidates(supernet: PathSupernet) -> dict[Key, nn.Module]:
    return {
        (layer, label): block
        for layer, blocks in supernet.layers.items()
        for label, block in blocks.items()  # type: ignore[operator]
    }


@dataclass(frozen=True, slots=True)
class Step:
    """The paths that images went through, and the candidates whose weights are others than before."""

    paths: list[tuple[str, ...]]
    changed: set[Key]

    @property
    def trained(self) -> list[Key]:
        """The candidates on the paths."""
        return [(str(layer), label) for path in self.paths for layer, label in enumerate(path, start=1)]


def steps_of(
    monkeypatch: pytest.MonkeyPatch, sampling: Sampling, epochs: int, batch: int
) -> list[list[Step]]:
    """The steps of a training on 70 images, epoch by epoch, as they are seen from outside."""
    seen, blocks = list[Key](), dict[Key, nn.Module]()
    weights, found = dict[Key, list[Tensor]](), [list[Step]()]

    def look(supernet: PathSupernet) -> None:
        blocks.update(candidates(supernet))
        for key, block in blocks.items():
            block.register_forward_hook(lambda *_, key=key: seen.append(key))
        supernet.register_forward_pre_hook(lambda *_: weights.update(taken()))

    def taken() -> dict[Key, list[Tensor]]:
        return {key: [each.detach().clone() for each in block.parameters()] for key, block in blocks.items()}

    def after(progress: TrainingProgress) -> None:
        if progress.milestone:
            found.append([])
            return
        labels = [label for _, label in seen]
        paths = [tuple(labels[start : start + 3]) for start in range(0, len(labels), 3)]
        moved = {
            key
            for key, tensors in taken().items()
            if not all(torch.equal(*pair) for pair in zip(tensors, weights[key], strict=True))
        }
        found[-1].append(Step(paths, moved))
        seen.clear()

    seen_by(monkeypatch, look)
    trained(replace(SINGLE, sampling=sampling, epochs=epochs, batch=batch), on_progress=after)
    assert [len(steps) for steps in found[:-1]] == [70 // batch] * epochs
    return found[:-1]


def test_uniform_sampling_trains_one_independent_candidate_a_layer_and_step(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    steps = [step for epoch in steps_of(monkeypatch, "uniform", epochs=5, batch=2) for step in epoch]
    assert all(len(step.paths) == 1 and step.changed == set(step.trained) for step in steps)
    drawn = [step.paths[0] for step in steps]
    deviation = (len(drawn) * 3 / 16) ** 0.5  # of how often a candidate of four is drawn
    for layer in range(3):
        counts = Counter(path[layer] for path in drawn)
        assert all(abs(counts[label] - len(drawn) / 4) < 4 * deviation for label in LABELS)
    for one, other in combinations(range(3), 2):
        assert len({(path[one], path[other]) for path in drawn}) == 16


def test_strict_fairness_trains_every_candidate_once_in_as_many_steps(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    epochs = steps_of(monkeypatch, "strict-fairness", epochs=3, batch=5)
    drawn = list[tuple[str, ...]]()
    for steps in epochs:  # 14: three times four, and two that the next epoch does not go on with
        assert all(len(step.paths) == 1 and step.changed == set(step.trained) for step in steps)
        for start in range(0, 12, 4):
            group = [key for step in steps[start : start + 4] for key in step.trained]
            assert len(group) == len(set(group)) == 12
        drawn += [path for step in steps for path in step.paths]
    assert len(set(drawn)) > 12, "the orders are drawn again"


def test_fairnas_trains_every_candidate_once_a_step(monkeypatch: pytest.MonkeyPatch) -> None:
    steps = [step for epoch in steps_of(monkeypatch, "fairnas", epochs=2, batch=16) for step in epoch]
    for step in steps:
        assert len(step.paths) == 4
        assert len(step.trained) == len(set(step.trained)) == 12
        assert step.changed == set(step.trained)
    assert len({path for step in steps for path in step.paths}) > 12, "the orders are drawn again"


def test_a_step_is_sgd_with_momentum_in_which_only_weights_decay(monkeypatch: pytest.MonkeyPatch) -> None:
    """By hand, from the gradients: those of convolutions and linear layers decay, and none off the path."""
    settings = replace(SINGLE, epochs=3, momentum=0.8, weight_decay=0.1)
    before, gradients, velocities = dict[str, Tensor](), dict[str, Tensor](), dict[str, Tensor]()
    supernets = list[PathSupernet]()

    def begin(supernet: PathSupernet, *_: object) -> None:
        gradients.clear()
        for name, parameter in supernet.named_parameters():
            before[name] = parameter.detach().clone()
            parameter.register_post_accumulate_grad_hook(lambda each, name=name: keep(name, each))

    def keep(name: str, parameter: Tensor) -> None:
        assert parameter.grad is not None
        gradients[name] = parameter.grad.clone()

    def look(supernet: PathSupernet) -> None:
        supernets.append(supernet)
        supernet.register_forward_pre_hook(begin)

    def after(progress: TrainingProgress) -> None:
        if progress.milestone:
            return
        lr = 0.1 * (1, 2 / 3, 1 / 3)[(progress.done - 1) // 4]
        for name, parameter in supernets[0].named_parameters():
            if name not in gradients:
                assert torch.equal(parameter, before[name]), name
                continue
            decay = 0.1 * before[name] if parameter.dim() > 1 else 0.0
            velocities[name] = 0.8 * velocities.get(name, torch.zeros(())) + gradients[name] + decay
            torch.testing.assert_close(
                parameter.detach(), before[name] - lr * velocities[name], msg=lambda m, n=name: f"{n}: {m}"
            )

    seen_by(monkeypatch, look)
    trained(settings, on_progress=after)
    assert {tensor.dim() for tensor in velocities.values()} == {1, 2, 4}


def test_the_learning_rate_falls_in_a_line() -> None:
    reports: list[TrainingProgress] = []
    trained(SINGLE, on_progress=reports.append)
    rates = [dict(report.metrics)["lr"] for report in reports if report.milestone]
    assert rates == pytest.approx([0.1, 0.075, 0.05, 0.025])
    assert linear(SinglePathSettings(), 150) == pytest.approx(0.25)


def test_the_loss_is_the_sum_of_the_paths_cross_entropies_with_smoothed_labels() -> None:
    logits = np.random.default_rng(2).normal(size=(4, 5, 3)).astype(np.float32)
    labels = np.array([0, 2, 1, 1, 0])
    wanted = 0.9 * np.eye(3)[labels] + 0.1 / 3
    log_softmax = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    expected = -(wanted * log_softmax).sum(-1).mean(-1).sum()
    found = smoothed(0.1)(torch.from_numpy(logits), torch.from_numpy(labels), torch.zeros(5))
    assert float(found) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("sampling", ["uniform", "strict-fairness", "fairnas"])
def test_a_broken_off_training_ends_as_an_unbroken_one(tmp_path: Path, sampling: Sampling) -> None:
    state, settings = tmp_path / "state.safetensors", replace(SINGLE, sampling=sampling, batch=15)

    def kill(progress: TrainingProgress) -> None:
        if progress.done == 10:  # of 16 steps: in the middle of the third epoch
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        trained(settings, state=state, on_progress=kill)
    mine, whole = (trained(settings, **more).state_dict() for more in ({"state": state}, {}))
    assert all(torch.equal(mine[name], whole[name]) for name in whole)


def finished(
    folder: Path, on_progress: OnProgress = silent, settings: TrainSettings = SETTINGS
) -> TrainResult:
    result = fitted_run(settings, folder, fit, on_progress)
    assert result is not None
    return result


def rows_of(result: TrainResult) -> list[list[str]]:
    """The evaluated networks: their labels and top-1."""
    lines = result.weights.with_name("subnets-fit-1.csv").read_text().splitlines()
    return [line.split(",") for line in lines[1:]]


@pytest.fixture
def unbroken() -> TrainResult:
    return _unbroken()


@cache
def _unbroken() -> TrainResult:
    return finished(Path(mkdtemp()))


def test_a_run_leaves_a_supernet_and_a_table_that_is_fitted_to_its_networks(unbroken: TrainResult) -> None:
    folder = unbroken.weights.parent
    assert {path.name for path in folder.iterdir()} - {"tensorboard"} == {
        "accuracy.json", "log.csv", "run.json", "subnets-fit-1.csv", "subnets-fit-1.journal",
        "weights.safetensors",
    }  # fmt: skip
    assert unbroken.meta is None
    file, paths = read_weights(unbroken.weights), tiny_paths.space()
    assert file.supernet
    assert not file.elastic
    for label in ("mb_k3e3", "identity"):
        file.inherited(Architecture(paths, (label,) * 3))
    rows = rows_of(unbroken)
    assert len(rows) == 20
    assert [*unbroken.best.choices] in [row[:-1] for row in rows]
    origin = unbroken.table.origin
    assert origin is not None
    assert (origin.method, dict(origin.epochs)) == ("fitted", {"supernet": 12})
    assert dict(origin.details)["single_path.sampling"] == "uniform"
    asked = json.loads((folder / "run.json").read_text())["settings"]
    assert asked["single_path.epochs"] == 12
    assert not [name for name in asked if name.startswith(("meta.", "fine_tune.", "shrink.", "recipe"))]


@pytest.mark.parametrize("moment", [("supernet", 10), ("subnets", 8)])
def test_an_interrupted_run_ends_like_an_unbroken_one(
    tmp_path: Path, unbroken: TrainResult, moment: tuple[str, int]
) -> None:
    def interrupt(progress: TrainingProgress) -> None:
        if progress.stage == moment[0] and progress.done >= moment[1]:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        finished(tmp_path, interrupt)
    seen: list[tuple[str, int]] = []
    result = finished(tmp_path, lambda progress: seen.append((progress.stage, progress.done)))
    assert min(done for stage, done in seen if stage == moment[0]) > 4
    mine, other = read_weights(result.weights), read_weights(unbroken.weights)
    assert mine.metadata == other.metadata
    assert all(np.array_equal(mine.tensors[name], other.tensors[name]) for name in other.tensors)
    assert rows_of(result) == rows_of(unbroken)
    assert result.table.loss == unbroken.table.loss


def test_status_says_how_far_a_stopped_run_is(tmp_path: Path) -> None:
    def interrupt(progress: TrainingProgress) -> None:
        if progress.done == 10:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        finished(tmp_path, interrupt)
    done = CliRunner().invoke(app, ["train", "status", str(tmp_path), "--json"], catch_exceptions=False)
    said = json.loads(done.stdout)
    assert (said["stage"], said["at"], said["step"], said["steps"]) == ("supernet", "epoch 2 of 12", 8, 48)
    assert "--space paths" in said["command"]
    assert "--set single_path.epochs=12" in said["command"]
    assert "meta." not in said["command"]


def test_a_run_that_stopped_before_its_first_epoch_is_at_the_supernet(tmp_path: Path) -> None:
    def interrupt(progress: TrainingProgress) -> None:
        if progress.stage == "supernet":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        finished(tmp_path, interrupt)
    (tmp_path / "log.csv").unlink(missing_ok=True)
    assert read_status(tmp_path).stage == "supernet"


def test_inherited_networks_learn_whatever_their_path(tmp_path: Path) -> None:
    reports: list[TrainingProgress] = []
    settings = changed(recipe="single-path", single_path=replace(SINGLE, epochs=40))
    result = finished(tmp_path, reports.append, settings)
    last = dict([report for report in reports if report.stage == "supernet"][-1].metrics)
    assert last["mean_top1_pct"] > 70
    assert np.mean([float(row[-1]) for row in rows_of(result)]) > 70


ASKED = changed(recipe="single-path", single_path=SETTINGS.single_path)
"""In a space that is usually fine-tuned layer by layer."""


def test_any_space_trains_path_by_path_where_that_is_asked_for(tmp_path: Path) -> None:
    result = finished(tmp_path, settings=ASKED)
    assert json.loads((tmp_path / "run.json").read_text())["settings"]["recipe"] == "single-path"
    assert read_weights(result.weights).supernet
    assert result.meta is None
    assert "recipe=single-path" in read_status(tmp_path).settings
    with pytest.raises(RunMismatchError, match="recipe was single-path"):
        train_run(changed(), tmp_path)


@pytest.mark.parametrize(
    ("settings", "left_out"), [(SETTINGS, "single_path.momentum"), (changed(), "precision")]
)
def test_a_run_of_an_older_version_goes_on(tmp_path: Path, settings: TrainSettings, left_out: str) -> None:
    """It does not name settings that came later, nor those of other recipes."""

    def go_on(on_progress: OnProgress = silent) -> TrainResult:
        if settings is SETTINGS:
            return finished(tmp_path, on_progress)
        return train_run(settings, tmp_path, on_progress)

    def interrupt(progress: TrainingProgress) -> None:
        if progress.milestone:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        go_on(interrupt)
    document = json.loads((tmp_path / "run.json").read_text())
    del document["settings"][left_out]
    assert "recipe" not in document["settings"]
    (tmp_path / "run.json").write_text(json.dumps(document))
    assert go_on().table_path.exists()


@pytest.mark.parametrize(
    ("pair", "words"),
    [
        ("meta.epochs=3", "meta.epochs changes nothing in space 'spos-shufflenet'"),
        ("single_path.networks=3", "single_path.networks is 3: it must be 20 or more"),
        ("single_path.label_smoothing=1", "label smoothing of 1: it must be from 0 to below 1"),
        ("single_path.sampling=random", "unknown sampling of paths 'random': known are fairnas,"),
        ("single_path.batch=1", "a batch of 1 in training the supernet"),
    ],
)
def test_a_setting_that_cannot_be_is_refused_by_its_name(pair: str, words: str) -> None:
    with pytest.raises(PonasError, match=words):
        assigned(TrainSettings(space="spos-shufflenet"), [pair])


def test_an_unknown_recipe_lists_those_there_are() -> None:
    with pytest.raises(UnknownNameError, match="unknown recipe 'two-path': known are auto, progressive"):
        assigned(TrainSettings(), ["recipe=two-path"])


def test_fair_rules_refuse_layers_of_different_numbers_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(PonasError, match="space 'paths' has layers of 3 to 4 candidates: strict fairness"):
        finished(
            tmp_path / "run", settings=replace(SETTINGS, single_path=replace(SINGLE, sampling="fairnas"))
        )
    assert list(tmp_path.iterdir()) == []
