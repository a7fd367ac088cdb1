"""A supernet fitted to other images: what comes out, kills, and what is refused."""
# ruff: noqa: E402

from __future__ import annotations

import json
import os
import re
import signal
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner, Result

torch = pytest.importorskip("torch", reason="needs the train extra (torch)")
import tiny_elastic
import tiny_training
from forked import script
from tiny_training import CPU, one_thread, splits
from transfer_child import ASKED, MOMENTS, named, transferred

from ofa_layout import supernet
from photos import fill
from ponas_deploy.commands import app
from ponas_deploy.files.weights import read_weights, write_weights
from ponas_deploy.tables.files import load_accuracy_table
from ponas_deploy.tables.grid import SpaceKey
from searchspace import Architecture
from searchspace.elastic import ELASTIC, largest_network
from searchspace.weights import random_weights
from train.compute import generator
from train.errors import TrainingError
from train.files import RunPaths
from train.networks import ElasticNetwork, Network, initialise, load_arrays
from train.progress import TrainingProgress
from train.settings import TransferSettings
from train.stages import evaluate, inherited_weights, new_classifier, train_transfer

Run = Callable[..., Result]
LEFT = {
    "accuracy.json",
    "log.csv",
    "run.json",
    "subnets-fit-3.csv",
    "subnets-fit-3.journal",
    "weights.safetensors",
}


@pytest.fixture(autouse=True)
def _steady(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    tiny_elastic.known(monkeypatch)
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setenv("PONAS_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PONAS_CACHE", str(tmp_path / "cache"))
    with one_thread():
        yield


@pytest.fixture
def run() -> Run:
    return lambda *arguments: CliRunner().invoke(app, [str(argument) for argument in arguments])


def header(classes: int) -> dict[str, str]:
    space = tiny_elastic.space(classes=classes)
    return {
        "layout": ELASTIC,
        "space": space.name,
        "fingerprint": space.fingerprint,
        "classes": str(classes),
    }


def untrained(classes: int = 3) -> ElasticNetwork:
    network = ElasticNetwork(tiny_elastic.space(classes=classes))
    initialise(network, generator(1, "weights"))
    return CPU.place(network)


@cache
def _supernet() -> Path:
    """A supernet of random weights for five classes."""
    path = Path(mkdtemp()) / "supernet.safetensors"
    classifier = random_weights(largest_network(tiny_elastic.space(classes=5)))
    own = {name: classifier[f"head.classifier.{name}"] for name in ("weight", "bias")}
    shared = tiny_elastic.random_network().arrays()
    shared |= {f"head.classifier.{name}": tensor for name, tensor in own.items()}
    write_weights(path, shared, header(5))
    return path


@pytest.fixture(scope="module")
def ofa(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file in the layout of Once-for-all's authors."""
    path = tmp_path_factory.mktemp("ofa") / "ofa_mbv3"
    torch.save({"state_dict": supernet(10)}, path)
    return path


def test_what_comes_out_of_a_transfer(run: Run, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    told = run(
        *(
            "train",
            "transfer",
            "--data",
            "blobs",
            "--weights",
            _supernet(),
            "--resolution",
            16,
            "--out",
            folder,
        ),
        *("--epochs", 30, "--lr", 0.1, "--batch", 16, "--networks", 24, "--device", "cpu", "--json"),
    )
    assert told.exit_code == 0, told.output + repr(told.exception)
    assert "for 5 classes, is replaced by a new one for 3 " in " ".join(told.stderr.split())
    found = json.loads(told.stdout)
    space = tiny_elastic.space()
    file = read_weights(Path(found["weights"]))
    assert (file.elastic, file.metadata["data"], file.number("resolution")) == (True, "blobs", 16)
    assert file.shared["head.classifier.weight"].shape == (3, 16)
    table = load_accuracy_table(Path(found["accuracy_table"]))
    assert table.space == SpaceKey.of(space)
    assert table.origin is not None
    assert (table.origin.data, table.origin.images, table.origin.epochs) == (
        "blobs",
        36,
        (("head", 10), ("all", 30)),
    )
    assert table.certificate is not None
    assert (table.certificate.method, table.certificate.networks) == ("held out", 24)
    assert len(Path(found["evaluated"]).read_text().splitlines()) == 25
    for architecture in (largest_network(space), Architecture.from_text(space, tiny_elastic.SUBNETS[1])):
        network = Network(architecture)
        load_arrays(network, inherited_weights(architecture, file.path, splits(0), device="cpu"))
        assert evaluate(network, splits(0).test, CPU).top1_pct > 60, "a third by chance"
    status = json.loads(run("train", "status", folder, "--json").stdout)
    assert status["stage"] == "done"
    assert status["command"] == (
        f"ponas train transfer --out {folder} --data blobs --weights {_supernet()} --resolution 16 --seed 0"
        " --epochs 30 --lr 0.1 --batch 16 --networks 24 --device cpu"
    )


def test_the_classifier_is_trained_first_and_alone() -> None:
    network = untrained()
    new_classifier(network, 1)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    kept: list[dict[str, Any]] = []

    def keep(progress: TrainingProgress) -> None:
        if progress.milestone:
            kept.append({name: tensor.clone() for name, tensor in network.state_dict().items()})
            seen.append((progress.stage, progress.done, progress.total, progress.text))

    seen: list[tuple[str, int, int, str]] = []
    settings = TransferSettings(head_epochs=2, epochs=1, batch=16)
    train_transfer(network, splits(), settings, seed=1, compute=CPU, on_progress=keep)
    assert seen == [
        ("head", 4, 8, "epoch 1 of 2"),
        ("head", 8, 8, "epoch 2 of 2"),
        ("fine-tune", 4, 4, "epoch 1 of 1"),
    ]
    for epoch, tensors in enumerate(kept):
        changed = {
            name
            for name, tensor in tensors.items()
            if not name.endswith(("running_mean", "running_var")) and not torch.equal(tensor, before[name])
        }
        if epoch < 2:
            assert changed == {"head.classifier.weight", "head.classifier.bias"}
        else:
            assert {"stem.conv.conv.weight", "layers.E.expand.conv.weight"} < changed


def test_a_step_is_that_of_its_networks_on_their_own() -> None:
    """The gradient is the mean of theirs, each a network of its own on the same batch."""
    network, plain = untrained(), untrained()
    images, labels = next(splits().train.batches(70))
    drawn: list[Architecture] = []
    after: list[torch.Tensor] = []

    def keep(progress: TrainingProgress) -> None:
        if progress.milestone:
            after.append(network.head.get_parameter("classifier.weight").detach().clone())

    class Watched(ElasticNetwork):
        def activate(self, architecture: Architecture) -> None:
            drawn.append(architecture)
            super().activate(architecture)

    network.__class__ = Watched
    settings = TransferSettings(1, 0.1, 1, 0.1, 70, 3, momentum=0.0, weight_decay=0.0, augment=False)
    train_transfer(network, splits(), settings, seed=1, compute=CPU, on_progress=keep)
    assert len(drawn) == 2 * 3
    step = torch.zeros_like(after[0])
    for architecture in drawn[:3]:
        subnet = plain.subnet(architecture).train()
        loss = torch.nn.functional.cross_entropy(subnet(images), labels)
        (gradient,) = torch.autograd.grad(loss, [subnet.head.get_parameter("classifier.weight")])
        step += 0.1 * gradient / 3
    start = plain.head.get_parameter("classifier.weight").detach()
    assert torch.allclose(start - after[0], step, atol=1e-6)
    assert step.abs().max() > 1e-3


def test_a_loss_that_is_not_finite_keeps_the_last_good_epoch(tmp_path: Path) -> None:
    network, states = untrained(), RunPaths(tmp_path).transfer_states
    settings = TransferSettings(head_epochs=1, epochs=3, lr=1e12, batch=16)
    with pytest.raises(TrainingError, match="the loss of everything is not a finite number at step"):
        train_transfer(network, splits(), settings, seed=1, compute=CPU, states=states)
    assert read_weights(states["head"]).metadata["epochs_done"] == "1"
    assert not states["fine-tune"].exists()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork, which this system has not")
def test_a_killed_transfer_ends_like_an_unbroken_one(tmp_path: Path) -> None:
    (tmp_path / "supernet.safetensors").write_bytes(_supernet().read_bytes())
    died, finished = script("transfer_child.py", tmp_path)
    assert died == [-signal.SIGKILL] * len(MOMENTS)
    assert finished == [0] * (len(MOMENTS) + 1)
    wanted = tmp_path / "unbroken"
    for moment in MOMENTS:
        folder = tmp_path / named(*moment)
        assert {path.name for path in folder.iterdir()} - {"tensorboard"} == LEFT, moment
        mine, others = (read_weights(one / "weights.safetensors") for one in (folder, wanted))
        assert mine.metadata == others.metadata
        assert all(np.array_equal(mine.shared[name], array) for name, array in others.shared.items()), moment
        for name in ("subnets-fit-3.csv", "run.json"):
            assert (folder / name).read_bytes() == (wanted / name).read_bytes(), (moment, name)
        tables = [
            re.sub(r'"created": "[^"]*"', "", (one / "accuracy.json").read_text()) for one in (folder, wanted)
        ]
        assert tables[0] == tables[1], moment


def test_a_finished_run_is_read_and_other_settings_are_refused(run: Run, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    transferred(_supernet(), folder)
    before = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    transferred(_supernet(), folder)
    assert {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()} == before
    given = ("train", "transfer", "--data", "blobs", "--weights", _supernet(), *ASKED, "--out", folder)
    refused(run(*given, "--epochs", 3), "epochs was 2, now 3")


def test_more_networks_of_a_finished_run_are_another_command(run: Run, tmp_path: Path) -> None:
    folder, moved = tmp_path / "run", tmp_path / "moved.safetensors"
    transferred(_supernet(), folder)
    moved.write_bytes(_supernet().read_bytes())
    told = run(*asked("blobs", moved, folder, *ASKED, "--networks", 30))
    assert told.exit_code == 0, told.output
    words = f"change nothing in it; a table of more networks: ponas train table --run {folder} --networks 30"
    assert words in " ".join(told.stderr.split())
    command = json.loads(run("train", "status", folder, "--json").stdout)["command"]
    assert f"--weights {moved} " in command
    assert "--networks 24" in command, "as it was made"


def test_a_supernet_of_the_same_images_keeps_the_test_images(run: Run, tmp_path: Path) -> None:
    trained = tmp_path / "trained.safetensors"
    write_weights(trained, read_weights(_supernet()).shared, {**header(5), "data": "blobs", "seed": "0"})
    refused(run(*asked("blobs", trained, tmp_path / "run", "--seed", 1)), "Ask for --seed 0.")
    assert not (tmp_path / "run").exists()


def refused(result: Result, words: str) -> None:
    assert (result.exit_code, result.stdout) == (1, ""), result.output + repr(result.exception)
    assert words in " ".join(result.stderr.split())
    assert "Traceback" not in result.stderr


def asked(data: object, weights: Path, out: Path, *more: object) -> tuple[object, ...]:
    return ("train", "transfer", "--data", data, "--weights", weights, "--out", out, *more)


@pytest.mark.parametrize(
    ("images", "more", "words"),
    [
        (3 * 60, ("--resolution", 66), "it is made for multiples of 4 pixels, take 64 or 68"),
        (17, ("--resolution", 64), "and 3 to compare networks by, which is too few: 20 of these are needed"),
        (
            3 * 60,
            ("--space", "ofa-mbv3-w1.2"),
            "--space ofa-mbv3-w1.2 was asked for, but the weights are for ofa",
        ),
        (
            3 * 60,
            ("--batch", 1),
            "a batch of 1 in training the classifier: batch norm needs at least 2 images",
        ),
    ],
    ids=["resolution", "few images", "width", "batch"],
)
def test_what_cannot_be_is_refused_and_nothing_is_written(
    run: Run, tmp_path: Path, ofa: Path, images: int, more: tuple[object, ...], words: str
) -> None:
    photos = fill(tmp_path / "photos", -(-images // 3))
    for path in sorted(photos.rglob("*.jpg"))[images:]:
        path.unlink()
    refused(run(*asked(photos, ofa, tmp_path / "run", *more)), words)
    assert not (tmp_path / "run").exists()


def test_one_class_is_refused(run: Run, tmp_path: Path, ofa: Path) -> None:
    photos = fill(tmp_path / "photos", 5, ("cat",))
    refused(run(*asked(photos, ofa, tmp_path / "run")), "holds the images of one class only, 'cat'")
    assert not (tmp_path / "run").exists()


def test_files_that_are_no_supernet_with_shared_weights_are_refused(run: Run, tmp_path: Path) -> None:
    space = tiny_elastic.space()
    one, ours = tmp_path / "one.safetensors", tmp_path / "ours.safetensors"
    of_one = {**header(3), "layout": "network", "choices": largest_network(space).text}
    write_weights(one, random_weights(largest_network(space)), of_one)
    refused(
        run(*asked("blobs", one, tmp_path / "run")), "holds one network, and a transfer needs all of them"
    )
    plain = tiny_training.space()
    tensors = {
        name.replace(f"layers.{layer.name}.", f"layers.{layer.name}.{label}."): array
        for layer in plain.layers
        for label in layer.labels
        for name, array in random_weights(Architecture(plain, (label,) * 3)).items()
    }
    write_weights(ours, tensors, {**header(3), "layout": "supernet", "space": "tiny"})
    refused(
        run(*asked("blobs", ours, tmp_path / "run")),
        "space 'tiny', whose candidates do not share their weights",
    )
    lacking = dict(read_weights(_supernet()).shared)
    del lacking["layers.C.se.reduce.weight"]
    write_weights(one, lacking, header(5))
    refused(run(*asked("blobs", one, tmp_path / "run")), "the weights lack 'layers.C.se.reduce.weight'")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("lost", "words"),
    [
        ("final_expand_layer.", "another family of Once-for-all (ofa_proxyless"),
        ("first_conv.", "another family of Once-for-all (ofa_resnet50"),
        ("blocks.7.mobile_inverted_conv.depth_conv.conv.5to3_matrix", "it lacks blocks.7."),
    ],
    ids=["proxyless", "resnet50", "a key"],
)
def test_checkpoints_of_another_family_or_without_a_key_are_named(
    run: Run, tmp_path: Path, lost: str, words: str
) -> None:
    torch.save({k: v for k, v in supernet(10).items() if not k.startswith(lost)}, tmp_path / "checkpoint")
    photos = fill(tmp_path / "photos", 60)
    refused(run(*asked(photos, tmp_path / "checkpoint", tmp_path / "run", "--resolution", 32)), words)
    assert not (tmp_path / "run").exists()
    assert not (tmp_path / "home").exists()


def test_small_images_are_said(run: Run, tmp_path: Path) -> None:
    """Of 25 to 40 px, at 28 px."""
    photos = fill(tmp_path / "photos", 50)
    refused = run(*asked(photos, _supernet(), tmp_path / "run", "--resolution", 40))
    assert refused.exit_code == 1
    assert re.search(
        r"error: \d+ of 96 training images are smaller than 40 px \(one has a side of 25\):"
        r" --resolution 24 fits them all, and --enlarge takes them",
        " ".join(refused.stderr.split()),
    )
    assert not (tmp_path / "run").exists()
    told = run(
        *asked(photos, _supernet(), tmp_path / "run", "--resolution", 28, "--head-epochs", 1, "--epochs", 1),
        *("--time", 0, "--device", "cpu"),
    )
    assert told.exit_code == 0, told.output + repr(told.exception)
    text = " ".join(told.stderr.split())
    assert re.search(
        r"warning: \d+ of 96 training images are smaller than 28 px \(one has a side of 25\)", text
    )
    file = read_weights(tmp_path / "run" / "weights.safetensors")
    assert file.class_names == ("cat", "dog", "eel")
    assert file.metadata["resize_px"] == "32"
    certificate = load_accuracy_table(tmp_path / "run" / "accuracy.json").certificate
    assert certificate is not None
    assert ("may rank networks no better than chance" in text) == (certificate.kendall_tau_low <= 0)
    log = (tmp_path / "run" / "log.csv").read_text()
    assert all(f",{stage}," in log for stage in ("head", "fine-tune"))


def test_images_that_rank_no_networks_say_so(run: Run, tmp_path: Path) -> None:
    """Networks that were hardly trained all answer with the same class."""
    hardly = tmp_path / "hardly.safetensors"
    write_weights(hardly, untrained(5).arrays(), header(5))
    told = run(*asked("blobs", hardly, tmp_path / "run", *ASKED, "--head-lr", 1e-6, "--lr", 1e-6))
    refused(told, "all 24 networks reach 22.2 % on the validation images, which so rank none of them")
    assert (tmp_path / "run" / "weights.safetensors").exists()
    assert not (tmp_path / "run" / "accuracy.json").exists()
    assert not list((tmp_path / "run").glob("*state*"))
    refused(run("train", "table", "--run", tmp_path / "run"), "`ponas train transfer --out")
