"""Checkpoints in the authors' layout, against a torch module of that layout written for this test alone."""
# ruff: noqa: E402

from __future__ import annotations

import argparse
import pickle
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the train extra (torch)")
from tiny_training import one_thread
from torch import nn

from authors_layout import PUBLISHED, TENSORS, theirs
from ponas_deploy.errors import FileFormatError, PonasError, WeightsError
from ponas_deploy.files.weights import read_weights
from searchspace import Architecture, build_space, parse_architecture
from searchspace.weights import inherit
from train.networks import Network, convert, load_arrays, read_checkpoint


@pytest.fixture(autouse=True)
def _steady() -> Iterator[None]:
    with one_thread():
        yield


def logits(network: nn.Module, resolution: int) -> np.ndarray:
    images = torch.randn(2, 3, resolution, resolution, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        return network.eval()(images).numpy()


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_published_network_is_recognised_converted_and_computes_the_same(tmp_path: Path, name: str) -> None:
    network = theirs(name)
    assert len(network.state_dict()) == TENSORS[name]
    torch.save(network.state_dict(), tmp_path / "theirs.pth")
    checkpoint = convert(tmp_path / "theirs.pth", tmp_path / "ours.safetensors")
    assert checkpoint.name == name
    assert checkpoint.architecture == parse_architecture(name, build_space("ponas"))
    file = read_weights(tmp_path / "ours.safetensors")
    expected = {
        "layout": "network",
        "space": "ponas",
        "resolution": "224",
        "classes": "1000",
        "format": "ponas.weights/1",
    }
    assert expected.items() <= file.metadata.items()
    assert name in file.metadata["source"]
    ours = Network(checkpoint.architecture)
    load_arrays(ours, inherit(file.tensors, checkpoint.architecture))
    wanted = logits(network, 64)
    assert wanted.std() > 1e-3
    np.testing.assert_allclose(logits(ours, 64), wanted, rtol=1e-4, atol=1e-5 * np.abs(wanted).max())


def test_it_runs_through_the_exported_graph_too(tmp_path: Path) -> None:
    ort = pytest.importorskip("onnxruntime")
    from searchspace.graph import INPUT, network_model

    network = theirs("PONAS-A", 10)
    torch.save(network.state_dict(), tmp_path / "a.pth")
    found = read_checkpoint(tmp_path / "a.pth")
    assert found.architecture.space.classes == 10
    small = Architecture(build_space("ponas", 64, 10), found.architecture.choices)
    model = network_model(small, found.tensors, 2).SerializeToString()
    images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0)).numpy()
    answer = ort.InferenceSession(model, providers=["CPUExecutionProvider"]).run(None, {INPUT: images})[0]
    wanted = logits(network, 64)
    assert np.abs(answer - wanted).max() < 1e-3 * np.abs(wanted).max()


def test_another_network_of_the_space_is_read_by_its_shapes(tmp_path: Path) -> None:
    blocks = " ".join(["3,3s", "6,7"] * 9 + ["6,3"])
    torch.save(theirs(blocks, 5).state_dict(), tmp_path / "own.pth")
    found = read_checkpoint(tmp_path / "own.pth")
    assert found.name == ""
    assert found.architecture.choices == ("k3e3se", "k7e6") * 9 + ("k3e6",)


State = dict[str, Any]


@pytest.mark.parametrize(
    "change",
    [
        lambda state: {"state_dict": state, "epoch": 3},
        lambda state: {f"module.{key}": tensor for key, tensor in state.items()},
        lambda state: {"net": {f"module.module.{key}": tensor for key, tensor in state.items()}},
        lambda state: {"model_state_dict": {f"module._orig_mod.{key}": t for key, t in state.items()}},
        lambda state: {key: tensor for key, tensor in state.items() if "num_batches" not in key},
        lambda state: {key: tensor.double() for key, tensor in state.items()},
    ],
    ids=["wrapped", "data parallel", "net, twice parallel", "compiled", "without counts", "float64"],
)
def test_usual_ways_to_save_the_same_tensors_are_read(
    tmp_path: Path, change: Callable[[State], State]
) -> None:
    state = theirs("PONAS-B", 10).state_dict()
    torch.save(state, tmp_path / "plain.pth")
    torch.save(change(dict(state)), tmp_path / "other.pth")
    plain, other = read_checkpoint(tmp_path / "plain.pth"), read_checkpoint(tmp_path / "other.pth")
    assert other.architecture == plain.architecture
    assert all(np.array_equal(other.tensors[name], plain.tensors[name]) for name in plain.tensors)
    assert {array.dtype for array in other.tensors.values()} == {np.dtype(np.float32)}


def without(state: State, *names: str) -> State:
    return {key: tensor for key, tensor in state.items() if key not in names}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            lambda s: without(s, "stages.7.block.point_wise.bn.running_var"),
            "(PONAS-B) it lacks stages.7.block.point_wise.bn.running_var.",
        ),
        (
            lambda s: without(s, "first.conv.weight", "classifier.1.weight"),
            "it lacks first.conv.weight, classifier.1.weight.",
        ),
        (lambda s: {**s, "stages.20.extra": torch.ones(1)}, "it has too much stages.20.extra."),
        (
            lambda s: {**s, "stages.last.0.weight": torch.ones(9, 320, 1, 1)},
            "it has wrong shapes stages.last.0.weight (9, 320, 1, 1) instead of (1280, 320, 1, 1).",
        ),
        (
            lambda s: {**s, "stages.1.block.depthwise.conv.weight": torch.ones(96, 1, 9, 9)},
            "stages.1.block.depthwise.conv.weight (96, 1, 9, 9) instead of",
        ),
        (
            lambda s: {**without(s, "first.bn.bias"), "first.bn.beta": torch.ones(32)},
            "it lacks first.bn.bias; it has too much first.bn.beta.",
        ),
        (
            lambda s: {**s, "classifier.1.bias": torch.full((10,), float("nan"))},
            "it has NaN or infinity in classifier.1.bias.",
        ),
        (lambda s: {"conv1.weight": torch.ones(3)}, " more; it has too much conv1.weight."),
    ],
)
def test_every_fault_is_named(tmp_path: Path, change: Callable[[State], State], words: str) -> None:
    path = tmp_path / "faulty.pth"
    torch.save(change(dict(theirs("PONAS-B", 10).state_dict())), path)
    with pytest.raises(WeightsError, match=re.escape(words)) as caught:
        convert(path, tmp_path / "never.safetensors")
    assert str(path) in str(caught.value)
    assert not (tmp_path / "never.safetensors").exists()


class Bomb:
    """A pickle that would run code."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.marker,)


def test_nothing_in_a_file_is_executed(tmp_path: Path) -> None:
    torch.save({"first.conv.weight": Bomb(tmp_path / "ran")}, tmp_path / "bomb.pth")
    (tmp_path / "plain.pth").write_bytes(pickle.dumps(Bomb(tmp_path / "ran")))
    for name in ("bomb.pth", "plain.pth"):
        with pytest.raises(FileFormatError, match="only plain state dicts are read"):
            read_checkpoint(tmp_path / name)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "there is no such file"),
        (b"", "is not a torch checkpoint"),
        (b"PK\x03\x04 broken", "is not a torch checkpoint"),
        (b"hello", "torch checkpoint"),
        ([1, 2], "holds no state dict"),
        ({}, "holds no state dict"),
        ({"epoch": 3}, "epoch: is no tensor"),
    ],
)
def test_what_is_no_checkpoint_is_refused(tmp_path: Path, content: object, words: str) -> None:
    path = tmp_path / "file.pth"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        torch.save(content, path)
    with pytest.raises(PonasError, match=words) as caught:
        read_checkpoint(path)
    assert "\n" not in str(caught.value)


def test_what_a_checkpoint_holds_beside_tensors_is_named(tmp_path: Path) -> None:
    torch.save({"state_dict": {"a": torch.ones(1)}, "args": argparse.Namespace(lr=1)}, tmp_path / "more.pth")
    with pytest.raises(FileFormatError, match=r"holds more than tensors \(argparse\.Namespace\)"):
        read_checkpoint(tmp_path / "more.pth")
