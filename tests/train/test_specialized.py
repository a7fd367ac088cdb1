"""Specialized networks: the recipe, learning from a teacher, runs that are killed, and what is refused."""
# ruff: noqa: E402

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the train extra (torch)")
import specialized_child
from forked import PATH, script
from specialized_child import FILES, MOMENTS, SETTINGS, STEPS, job, named, trained
from tiny_training import CPU, LABELS, META, one_thread, space, splits

from ponas_deploy.errors import FileFormatError, OverwriteError, PonasError, WeightsError
from ponas_deploy.files.weights import read_weights, write_weights
from searchspace import SPACES, Architecture
from searchspace.weights import random_weights
from train.compute import derive, generator, shuffled
from train.data import Splits, TensorImages
from train.errors import OutOfMemoryError, RunMismatchError, TrainingError
from train.files import read_log
from train.networks import Network, describe, initialise, load_arrays, to_arrays
from train.progress import TrainingProgress
from train.runs import SpecializedResult, specialized_run
from train.settings import Distillation, SpecializedSettings, retraining
from train.stages import evaluate, inherited_weights, load_teacher, train_meta, train_network
from train.stages.distill import taught
from train.stages.loop import smoothed_cross_entropy
from train.stages.specialized import cosine

SMALL = Architecture(space(), LABELS[:3])


@pytest.fixture(autouse=True)
def _steady(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setitem(SPACES, "tiny", space)
    with one_thread():
        yield


def untrained(architecture: Architecture = SMALL) -> Network:
    network = Network(architecture)
    initialise(network, generator(1, "weights"))
    return CPU.place(network)


def top1(network: Network, images: Splits | None = None) -> float:
    return evaluate(network, (images or splits()).test, CPU).top1_pct


@cache
def _meta() -> Path:
    """A trained meta network's file."""
    network, _ = train_meta(space(), splits(), replace(META, epochs=20), seed=1, compute=CPU)
    path = Path(mkdtemp()) / "meta.safetensors"
    header = {**describe("network", space(), splits(), 1), "choices": network.architecture.text}
    write_weights(path, to_arrays(network.state_dict()), header)
    return path


@cache
def _unbroken() -> SpecializedResult:
    return trained(Path(mkdtemp()) / "run")


@pytest.fixture
def meta() -> Path:
    return _meta()


@pytest.fixture
def unbroken() -> SpecializedResult:
    return _unbroken()


def test_the_defaults_are_the_papers() -> None:
    paper = SpecializedSettings()
    assert (paper.epochs, paper.batch, paper.lr) == (150, 256, 0.045)
    assert (paper.momentum, paper.weight_decay, paper.distillation) == (0.9, 4e-5, None)


def test_training_is_that_of_plain_torch() -> None:
    """Against torch's own optimizer, cosine and loop, on the same batches."""
    settings = replace(SETTINGS, augment=False)
    images, plain = splits(), untrained()
    optimizer = torch.optim.SGD(plain.parameters(), 0.05, 0.9, weight_decay=4e-5, nesterov=True)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, settings.epochs)
    for epoch in range(settings.epochs):
        torch.manual_seed(derive(1, "dropout", epoch))
        plain.train()
        assert optimizer.param_groups[0]["lr"] == pytest.approx(cosine(settings, epoch))
        for batch, labels in images.train.batches(16, shuffled(70, 16, "finetune", epoch, seed=1)):
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(plain(CPU.put(batch)), labels).backward()
            optimizer.step()
        schedule.step()
    ours = untrained()
    train_network(ours, images, settings, seed=1, compute=CPU)
    expected, found = plain.state_dict(), ours.state_dict()
    assert all(torch.allclose(found[name], expected[name], atol=1e-5) for name in expected)


def test_the_published_recipe_of_spos_is_that_of_plain_torch() -> None:
    """Against torch's own SGD without Nesterov, label smoothing, a line to 0; norms do not decay."""
    settings = retraining("spos-shufflenet", epochs=3, batch=16, lr=0.05)
    settings = replace(settings, augment=False, weight_decay=0.02)
    images, plain, ours = splits(), untrained(), untrained()
    decaying = [each for each in plain.parameters() if each.dim() > 1]
    others = [each for each in plain.parameters() if each.dim() == 1]
    assert others
    groups = [{"params": decaying, "weight_decay": 0.02}, {"params": others, "weight_decay": 0.0}]
    optimizer = torch.optim.SGD(groups, 0.05, 0.9)
    for epoch in range(3):
        torch.manual_seed(derive(1, "dropout", epoch))
        plain.train()
        for group in optimizer.param_groups:
            group["lr"] = 0.05 * (1 - epoch / 3)
        for batch, labels in images.train.batches(16, shuffled(70, 16, "finetune", epoch, seed=1)):
            optimizer.zero_grad()
            logits = plain(CPU.put(batch))
            torch.nn.functional.cross_entropy(logits, labels, label_smoothing=0.1).backward()
            optimizer.step()
    train_network(ours, images, settings, seed=1, compute=CPU)
    expected, found = plain.state_dict(), ours.state_dict()
    assert all(torch.allclose(found[name], expected[name], atol=1e-5) for name in expected)


def test_networks_of_spos_are_trained_as_published_and_others_as_in_the_paper() -> None:
    assert retraining("ponas") == retraining("SPOS-PAPER") == retraining("FBNet-A") == SpecializedSettings()
    found = retraining("spos-proxyless", lr=None, batch=256)
    assert (found.epochs, found.batch, found.lr, found.momentum, found.weight_decay) == (
        300,
        256,
        0.5,
        0.9,
        4e-5,
    )
    assert (found.label_smoothing, found.decay, found.nesterov, found.norm_decay) == (
        0.1,
        "linear",
        False,
        False,
    )
    assert found == retraining("spos-shufflenet-authors", batch=256)
    assert retraining("spos-shufflenet", decay="cosine", label_smoothing=0.0).decay == "cosine"


def test_labels_are_smoothed_beside_a_teacher_too() -> None:
    logits, labels, images = torch.randn(5, 3), torch.tensor([0, 2, 1, 1, 0]), torch.zeros(5)
    answers = torch.randn(5, 3)
    half = Distillation(4.0, 0.5)
    hard, smooth = (
        taught(lambda images: answers, half, smoothed_cross_entropy(share))  # type: ignore[arg-type]
        for share in (0.0, 0.1)
    )
    cross_entropy = torch.nn.functional.cross_entropy
    apart = cross_entropy(logits, labels, label_smoothing=0.1) - cross_entropy(logits, labels)
    found = smooth(logits, labels, images) - hard(logits, labels, images)
    assert float(found) == pytest.approx(0.5 * float(apart), rel=1e-4)


def test_top1_of_inherited_weights_is_told_as_they_are_used(tmp_path: Path, meta: Path) -> None:
    """Running statistics lag behind in few steps: with them the same weights are at chance."""
    file = read_weights(meta)
    stale = {
        name: np.full_like(tensor, 100) if name.endswith("running_var") else tensor
        for name, tensor in file.tensors.items()
    }
    write_weights(tmp_path / "stale.safetensors", stale, dict(file.metadata))
    told: list[TrainingProgress] = []
    network = Architecture.from_text(space(), file.metadata["choices"])
    settings = replace(SETTINGS, epochs=1, batch=64, lr=1e-5)
    work = job(
        architecture=network, settings=settings, inherited=read_weights(tmp_path / "stale.safetensors")
    )
    found = specialized_run(work, tmp_path / "run", device="cpu", on_progress=told.append)
    shown = [dict(one.metrics)["validation_top1_pct"] for one in told if one.metrics]
    assert found.validation.top1_pct > 70
    assert max(abs(one - found.validation.top1_pct) for one in shown) < 10


def test_measuring_batch_norm_for_what_is_told_changes_no_training() -> None:
    networks = [untrained(), untrained()]
    for network, remeasured in zip(networks, (False, True), strict=True):
        train_network(network, splits(), SETTINGS, seed=1, compute=CPU, remeasured=remeasured)
    one, other = (network.state_dict() for network in networks)
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_a_run_of_before_goes_on(tmp_path: Path, unbroken: SpecializedResult) -> None:
    """Its `run.json` names no label smoothing and no decay."""
    folder = Path(shutil.copytree(unbroken.path.parent, tmp_path / "run"))
    document = json.loads((folder / "run.json").read_text())
    added = ("label_smoothing", "decay", "nesterov", "norm_decay")
    for name in added:
        del document["settings"][f"training.{name}"]
    (folder / "run.json").write_text(json.dumps(document))
    result = json.loads((folder / "result.json").read_text())
    for name in added:
        del result["training"][name]
    (folder / "result.json").write_text(json.dumps(result))
    again = trained(folder)
    assert again.document == unbroken.document
    smoothed = replace(SETTINGS, label_smoothing=0.1)
    with pytest.raises(RunMismatchError, match=r"training.label_smoothing was 0.0, now 0.1"):
        specialized_run(job(settings=smoothed), folder, device="cpu")


def test_it_learns_from_scratch() -> None:
    network = untrained()
    train_network(network, splits(), replace(SETTINGS, epochs=24, lr=0.1), seed=1, compute=CPU)
    assert top1(network) > 80


def test_the_distillation_loss_is_hintons() -> None:
    """By hand: cross entropy, and the divergence of softened answers times the temperature squared."""
    random = np.random.default_rng(3)
    logits, answers = (random.normal(size=(5, 3)).astype(np.float32) for _ in range(2))
    labels = np.array([0, 2, 1, 1, 0])

    def softmax(values: np.ndarray) -> np.ndarray:
        return np.exp(values) / np.exp(values).sum(1, keepdims=True)

    hard = -np.log(softmax(logits)[np.arange(5), labels]).mean()
    p, q = softmax(answers / 4), softmax(logits / 4)
    soft = (p * np.log(p / q)).sum(1).mean()
    loss = taught(lambda images: torch.from_numpy(answers), Distillation(4.0, 0.9))  # type: ignore[arg-type]
    found = loss(torch.from_numpy(logits), torch.from_numpy(labels), torch.zeros(5))
    assert float(found) == pytest.approx(0.1 * hard + 0.9 * 16 * soft, rel=1e-5)


def test_a_student_learns_what_only_its_teacher_knows(meta: Path) -> None:
    """Labels that say nothing, and a teacher that does."""
    images = splits()
    nonsense = torch.randint(0, 3, (70,), generator=torch.Generator().manual_seed(5))
    confused = replace(images, train=replace(images.train, labels=nonsense))
    teacher = load_teacher(read_weights(meta), images, CPU)
    before = {name: tensor.clone() for name, tensor in teacher.state_dict().items()}
    settings = replace(SETTINGS, epochs=24, lr=0.1, distillation=Distillation(4.0, 1.0))
    student, alone = untrained(), untrained()
    train_network(student, confused, settings, seed=1, compute=CPU, teacher=teacher)
    train_network(alone, confused, replace(settings, distillation=None), seed=1, compute=CPU)
    assert top1(student) > 70 > 50 > top1(alone)
    after = teacher.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_a_run_leaves_weights_and_a_result_that_says_what_they_are(unbroken: SpecializedResult) -> None:
    folder = unbroken.path.parent
    names = {path.name for path in folder.iterdir()} - {"tensorboard"}
    assert names == {"run.json", "log.csv", "weights.safetensors", "result.json"}
    assert [line.at for line in read_log(folder / "log.csv")][-1] == "epoch 3 of 3"
    file = read_weights(unbroken.weights)
    network = Network(SMALL)
    load_arrays(network, file.tensors)
    assert evaluate(network, splits().test, CPU) == unbroken.test
    assert evaluate(network, splits().validation, CPU) == unbroken.validation
    assert file.metadata["choices"] == SMALL.text
    assert (file.metadata["layout"], file.metadata["data"], file.metadata["seed"]) == (
        "network",
        "blobs",
        "1",
    )
    found = json.loads(unbroken.path.read_text())
    assert found["images"] == {"train": 70, "validation": 36, "test": 24}
    assert found["training"]["epochs"] == 3
    assert (found["inherited"], found["teacher"]) == (None, None)
    assert found["test"]["top5_pct"] == 100


def test_a_finished_run_is_read_and_not_trained_again(unbroken: SpecializedResult) -> None:
    steps: list[TrainingProgress] = []
    again = trained(unbroken.path.parent, on_progress=steps.append)
    assert (again, steps) == (unbroken, [])


def test_the_seed_of_the_files_is_that_of_the_cut(tmp_path: Path, unbroken: SpecializedResult) -> None:
    """`ponas evaluate` cuts the images again by the file's seed: by another one it would test on training."""
    other = specialized_run(job(seed=7), tmp_path, device="cpu")
    assert read_weights(other.weights).metadata["seed"] == str(splits().seed) == "1"
    assert not same(other.weights, unbroken.weights)


def same(mine: Path, other: Path) -> bool:
    a, b = read_weights(mine).tensors, read_weights(other).tensors
    return all(np.array_equal(a[name], b[name]) for name in a.keys() | b.keys())


def test_a_killed_run_ends_like_an_unbroken_one(tmp_path: Path, unbroken: SpecializedResult) -> None:
    """SIGKILL within epochs, and between a file's last byte and its name."""
    assert script("specialized_child.py", "killed", tmp_path) == [-signal.SIGKILL] * len(MOMENTS)
    for where, number in MOMENTS:
        folder = tmp_path / named(where, number)
        written = number - (where == "before") if where != "step" else 1 + (number - 1) // STEPS
        kept = {path.name for path in folder.glob("[a-z]*") if path.suffix in (".json", ".safetensors")}
        assert kept == set(FILES[:written])
        assert bool(list(folder.glob(".*"))) == (where == "before")
        steps: list[TrainingProgress] = []
        resumed = trained(folder, on_progress=steps.append)
        assert same(resumed.weights, unbroken.weights)
        assert (resumed.test, resumed.validation) == (unbroken.test, unbroken.validation)
        done = max(written - 1, 0) if written < 5 else 3
        assert [step.done for step in steps if not step.milestone] == list(range(done * STEPS + 1, 13))
        left = {path.name for path in folder.iterdir()} - {"tensorboard"}
        assert left == {"run.json", "log.csv", "weights.safetensors", "result.json"}


def test_two_processes_train_what_one_does(tmp_path: Path, unbroken: SpecializedResult) -> None:
    """gloo, each with half of every batch."""
    torchrun = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
    done = subprocess.run(
        [*torchrun, specialized_child.__file__, "together", str(tmp_path / "two")],
        env={**os.environ, "PYTHONPATH": PATH, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    mine, other = read_weights(tmp_path / "two" / "weights.safetensors"), read_weights(unbroken.weights)
    assert mine.metadata == other.metadata
    for name, expected in other.tensors.items():
        assert np.allclose(mine.tensors[name], expected, rtol=1e-3, atol=1e-4), name
    assert "2 processes" in json.loads((tmp_path / "two" / "result.json").read_text())["device"]


def test_other_settings_of_a_network_are_refused_and_named(meta: Path, unbroken: SpecializedResult) -> None:
    folder, before = unbroken.path.parent, unbroken.weights.read_bytes()
    changed = job(settings=replace(SETTINGS, lr=0.2, epochs=5), inherited=None, seed=2)
    with pytest.raises(RunMismatchError) as caught:
        specialized_run(changed, folder, device="cpu")
    assert caught.value.changes == (
        "seed was 1, now 2",
        "training.epochs was 3, now 5",
        "training.lr was 0.05, now 0.2",
    )
    other = Architecture(space(), (LABELS[3],) * 3)
    file = read_weights(meta)
    with pytest.raises(RunMismatchError, match=r"choices was .*; inherited was None, now [0-9a-f]{64}"):
        specialized_run(replace(job(), architecture=other, inherited=file), folder, device="cpu")
    assert unbroken.weights.read_bytes() == before


def test_files_of_someone_else_are_not_touched(tmp_path: Path) -> None:
    (tmp_path / "weights.safetensors").write_text("precious")
    with pytest.raises(OverwriteError, match=r"weights.safetensors exists already"):
        trained(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["weights.safetensors"]


def poisoned(images: Splits, epoch: int) -> Splits:
    """The same images, but for an augmentation that breaks down in one epoch."""
    good, calls = images.train.augmentation, 0

    def augmentation(batch: torch.Tensor, random: torch.Generator) -> torch.Tensor:
        nonlocal calls
        calls += 1
        return good(batch, random) * (float("nan") if calls > STEPS * epoch else 1)

    return replace(images, train=replace(images.train, augmentation=augmentation))


def test_a_loss_that_is_no_number_stops_with_the_step_and_keeps_the_last_epoch(
    tmp_path: Path, unbroken: SpecializedResult
) -> None:
    with pytest.raises(TrainingError, match="the network is not a finite number at step 5") as caught:
        specialized_run(replace(job(), splits=poisoned(splits(), 1)), tmp_path, device="cpu")
    assert caught.value.step == STEPS + 1
    assert read_weights(tmp_path / "state.safetensors").metadata["epochs_done"] == "1"
    assert same(trained(tmp_path).weights, unbroken.weights)


def test_a_batch_that_does_not_fit_the_memory_names_a_smaller_one(tmp_path: Path) -> None:
    """Images of 4 million pixels a side that take no memory until a network wants to see them."""
    huge = torch.zeros(1, 1, 1, 1).expand(64, 3, 2**22, 2**22)
    images = replace(splits(), train=TensorImages(huge, torch.zeros(64, dtype=torch.int64)))
    giant = replace(job(), splits=images, settings=replace(SETTINGS, batch=64))
    with pytest.raises(OutOfMemoryError, match="64 images at once: try a batch of 32") as caught:
        specialized_run(giant, tmp_path, device="cpu")
    assert caught.value.batch == 64


def test_inherited_weights_are_where_training_begins(tmp_path: Path, meta: Path) -> None:
    largest, brief = Architecture(space(), (LABELS[3],) * 3), replace(SETTINGS, epochs=1, lr=0.001)
    both = {}
    for name, file in (("scratch", None), ("inherited", read_weights(meta))):
        target = replace(job(), architecture=largest, settings=brief, inherited=file)
        both[name] = specialized_run(target, tmp_path / name, device="cpu")
    assert both["inherited"].test.top1_pct > 80 > 60 > both["scratch"].test.top1_pct
    found = json.loads(both["inherited"].path.read_text())
    assert found["inherited"]["file"] == "meta.safetensors"
    assert len(found["inherited"]["sha256"]) == 64
    tuned = inherited_weights(
        largest, meta, splits(), finetune_epochs=1, lr=0.001, batch=16, seed=1, device="cpu"
    )
    mine = read_weights(both["inherited"].weights).tensors
    assert all(np.array_equal(tuned[name], mine[name]) for name in tuned)


def test_a_teacher_is_part_of_what_is_asked_for(tmp_path: Path, meta: Path) -> None:
    file = read_weights(meta)
    target = replace(job(), settings=replace(SETTINGS, distillation=Distillation()), teacher=file)
    specialized_run(target, tmp_path, device="cpu")
    found = json.loads((tmp_path / "result.json").read_text())
    assert found["teacher"]["file"] == "meta.safetensors"
    assert found["training"]["distillation"] == {"temperature": 4.0, "weight": 0.9}
    with pytest.raises(RunMismatchError, match=r"teacher was [0-9a-f]{64}, now None; training.distillation"):
        trained(tmp_path)
    with pytest.raises(ValueError, match="come together"):
        job(teacher=file)


def changed_file(path: Path, meta: Path, header: Mapping[str, str | None], drop: str = "") -> Path:
    file = read_weights(meta)
    tensors = {name: array for name, array in file.tensors.items() if name != drop}
    merged = {**file.metadata, **header}
    write_weights(path, tensors, {key: value for key, value in merged.items() if value is not None})
    return path


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ({"classes": "7"}, r"f.safetensors tells 7 classes apart, but blobs has 3"),
        ({"resolution": "64"}, r"f.safetensors is for 64 px, but blobs has 16 px"),
        ({"layout": "supernet"}, r"not the file of one trained network, which a teacher must be"),
        ({"choices": None}, r"not the file of one trained network"),
        ({"space": "mars"}, r"unknown space 'mars'"),
    ],
)
def test_a_teacher_that_cannot_teach_is_refused(
    tmp_path: Path, meta: Path, header: dict[str, str | None], message: str
) -> None:
    file = read_weights(changed_file(tmp_path / "f.safetensors", meta, header))
    target = replace(job(), settings=replace(SETTINGS, distillation=Distillation()), teacher=file)
    with pytest.raises(PonasError, match=message):
        specialized_run(target, tmp_path / "run", device="cpu")
    assert not (tmp_path / "run").exists()


def test_weights_that_do_not_fit_are_named_by_tensor(tmp_path: Path, meta: Path) -> None:
    name = "layers.1.expand.conv.weight"
    lacking = read_weights(changed_file(tmp_path / "f.safetensors", meta, {}, drop=name))
    largest = Architecture(space(), (LABELS[3],) * 3)
    with pytest.raises(WeightsError, match=f"lack '{name}'"):
        specialized_run(replace(job(), architecture=largest, inherited=lacking), tmp_path / "run")
    two = tmp_path / "two.safetensors"
    other = space(classes=2)
    write_weights(two, random_weights(Architecture(other, SMALL.choices)), {"layout": "network"})
    with pytest.raises(WeightsError, match="tells 2 classes apart, but blobs has 3"):
        specialized_run(job(inherited=read_weights(two)), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_state_of_another_network_is_named(tmp_path: Path) -> None:
    trained(tmp_path)
    for name in ("weights.safetensors", "result.json"):
        (tmp_path / name).unlink()
    (tmp_path / "state.safetensors").write_bytes(b"nothing of the kind")
    with pytest.raises(FileFormatError, match=r"state.safetensors: is neither a safetensors file"):
        trained(tmp_path)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda: SpecializedSettings(epochs=0), "0 epochs of training one network: at least 1 is needed"),
        (
            lambda: SpecializedSettings(label_smoothing=1.0),
            "label smoothing of 1: it must be from 0 to below 1",
        ),
        (lambda: SpecializedSettings(decay="line"), "'line': known are cosine, linear. Did you mean linear?"),  # type: ignore[arg-type]
        (lambda: SpecializedSettings(batch=1), "a batch of 1 in training one network"),
        (lambda: SpecializedSettings(lr=-1.0), "a learning rate of -1 in training one network"),
        (lambda: Distillation(temperature=0.0), "a distillation temperature of 0: it must be above 0"),
        (lambda: Distillation(weight=1.5), "a distillation weight of 1.5: it must be above 0 and at most 1"),
    ],
)
def test_settings_that_cannot_train_are_refused(wrong: Callable[[], object], message: str) -> None:
    with pytest.raises(PonasError, match=message):
        wrong()
