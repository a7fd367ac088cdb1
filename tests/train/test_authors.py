"""Checkpoints in the authors' layout, against a torch module of that layout written for this test alone."""
# ruff: noqa: E402

from __future__ import annotations

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
from ponas_deploy.engines.weights_files import read_file
from ponas_deploy.errors import MissingExtraError, WeightsError
from ponas_deploy.files.weights import WeightsFile, read_weights, write_weights
from searchspace import Architecture, build_space, parse_architecture
from searchspace.authors import authors_network
from searchspace.weights import inherit
from train.networks import Network, load_arrays, to_arrays

State = dict[str, Any]


@pytest.fixture(autouse=True)
def _steady(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("PONAS_HOME", str(tmp_path / "home"))
    with one_thread():
        yield


@pytest.fixture(scope="module")
def state() -> State:
    return dict(theirs("PONAS-B", 10).state_dict())


def network_in(file: WeightsFile) -> Architecture:
    space = build_space("ponas", file.number("resolution"), file.number("classes"))
    return Architecture.from_text(space, file.metadata["choices"])


def logits(network: nn.Module, resolution: int) -> np.ndarray:
    images = torch.randn(2, 3, resolution, resolution, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        return network.eval()(images).numpy()


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_published_network_is_recognised_converted_and_computes_the_same(tmp_path: Path, name: str) -> None:
    network = theirs(name)
    assert len(network.state_dict()) == TENSORS[name]
    torch.save(network.state_dict(), tmp_path / "theirs.pth")
    file = read_file(tmp_path / "theirs.pth")
    architecture = network_in(file)
    assert architecture == parse_architecture(name, build_space("ponas"))
    assert read_weights(file.stored).metadata == file.metadata
    expected = {
        "layout": "network",
        "space": "ponas",
        "resolution": "224",
        "classes": "1000",
        "format": "ponas.weights/1",
    }
    assert expected.items() <= file.metadata.items()
    assert name in file.metadata["source"]
    ours = Network(architecture)
    load_arrays(ours, inherit(file.tensors, architecture))
    wanted = logits(network, 64)
    assert wanted.std() > 1e-3
    np.testing.assert_allclose(logits(ours, 64), wanted, rtol=1e-4, atol=1e-5 * np.abs(wanted).max())


def test_it_runs_through_the_exported_graph_too(tmp_path: Path) -> None:
    ort = pytest.importorskip("onnxruntime")
    from searchspace.graph import INPUT, network_model

    network = theirs("PONAS-A", 10)
    torch.save(network.state_dict(), tmp_path / "a.pth")
    found = read_file(tmp_path / "a.pth")
    assert found.number("classes") == 10
    small = Architecture(build_space("ponas", 64, 10), network_in(found).choices)
    model = network_model(small, found.tensors, 2).SerializeToString()
    images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0)).numpy()
    answer = ort.InferenceSession(model, providers=["CPUExecutionProvider"]).run(None, {INPUT: images})[0]
    wanted = logits(network, 64)
    assert np.abs(answer - wanted).max() < 1e-3 * np.abs(wanted).max()


def test_another_network_of_the_space_is_read_by_its_shapes(tmp_path: Path) -> None:
    blocks = " ".join(["3,3s", "6,7"] * 9 + ["6,3"])
    torch.save(theirs(blocks, 5).state_dict(), tmp_path / "own.pth")
    found = read_file(tmp_path / "own.pth")
    assert "another network" in found.metadata["source"]
    assert network_in(found).choices == ("k3e3se", "k7e6") * 9 + ("k3e6",)


@pytest.mark.parametrize(
    ("change", "left_out"),
    [
        (lambda state: {"state_dict": state, "epoch": 3}, ""),
        (lambda state: {"optimizer": {"state": {}}, "generator": state}, ""),
        (lambda state: prefixed(state, "module."), "module."),
        (lambda state: {"net": prefixed(state, "module.module.")}, "module.module."),
        (lambda state: {"model_state_dict": prefixed(state, "module._orig_mod.")}, "module._orig_mod."),
        (lambda state: prefixed(state, "backbone.stages.net_"), "backbone.stages.net_"),
        (lambda state: {**prefixed(state, "module."), "n_averaged": torch.tensor(3)}, "module."),
        (lambda state: without(state, *(key for key in state if "num_batches" in key)), ""),
        (lambda state: {key: tensor.double() for key, tensor in state.items()}, ""),
    ],
    ids=[
        "wrapped",
        "own key",
        "data parallel",
        "net, twice parallel",
        "compiled",
        "own prefix",
        "averaged by torch",
        "without counts",
        "float64",
    ],
)
def test_usual_ways_to_save_the_same_tensors_are_read(
    tmp_path: Path, state: State, change: Callable[[State], State], left_out: str
) -> None:
    torch.save(change(state), tmp_path / "other.bin")
    said: list[str] = []
    other = read_file(tmp_path / "other.bin", said.append)
    plain = authors_network("plain", state)
    assert network_in(other) == plain.architecture
    assert all(np.array_equal(other.tensors[name], plain.tensors[name].numpy()) for name in plain.tensors)
    assert {array.dtype for array in other.tensors.values()} == {np.dtype(np.float32)}
    remarks = [f"{tmp_path}/other.bin: '{left_out}' before every name was left out"] if left_out else []
    assert said[1:] == remarks
    said.clear()
    read_file(tmp_path / "other.bin", said.append)
    assert said == remarks, "it is said each time that the file is used"


def test_a_converted_file_that_broke_is_converted_again(tmp_path: Path, state: State) -> None:
    torch.save(state, tmp_path / "b.pth")
    first = read_file(tmp_path / "b.pth")
    first.stored.write_bytes(first.stored.read_bytes()[:1000])
    again = read_file(tmp_path / "b.pth")
    assert again.stored == first.stored
    assert read_weights(first.stored).tensors.keys() == again.tensors.keys()


@pytest.mark.parametrize("prefix", ["", "module."])
def test_safetensors_in_their_layout_are_read_without_torch(
    tmp_path: Path, state: State, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ponas_deploy.engines.weights_files.find_spec", lambda name: None)
    path = tmp_path / "model.pth"
    write_weights(path, to_arrays(prefixed(state, prefix)), {})
    file = read_file(path)
    plain = authors_network("plain", state)
    assert (file.path, network_in(file)) == (path, plain.architecture)
    assert file.stored.parent == tmp_path / "home" / "weights"
    assert all(np.array_equal(file.tensors[name], plain.tensors[name].numpy()) for name in plain.tensors)
    torch.save(state, path)
    with pytest.raises(MissingExtraError, match=re.escape("pip install 'ponas-deploy[train]'")):
        read_file(path)


@pytest.mark.parametrize(
    ("keys", "taken", "remark"),
    [
        (
            ("state_dict_ema", "state_dict"),
            "state_dict",
            "too, under 'state_dict_ema'; those under 'state_dict'",
        ),
        (
            ("ema", "model"),
            "model",
            "too, under 'ema'; those under 'model' were taken: for the averaged ones,",
        ),
        (("model_ema",), "model_ema", "the averaged weights (EMA) under 'model_ema' were taken"),
    ],
)
def test_averaged_weights_are_said(
    tmp_path: Path, state: State, keys: tuple[str, ...], taken: str, remark: str
) -> None:
    several = {
        key: {**state, "classifier.1.bias": torch.full((10,), float(at))} for at, key in enumerate(keys)
    }
    torch.save(several, tmp_path / "a.pth")
    said: list[str] = []
    file = read_file(tmp_path / "a.pth", said.append)
    assert file.tensors["head.classifier.bias"].tolist() == [float(keys.index(taken))] * 10
    assert remark in said[-1]
    assert file.metadata["remark"] in said[-1]


@pytest.mark.parametrize(
    ("plain", "averaged"), [("model.", "model_ema."), ("", "ema."), ("online_model.", "ema_model.module.")]
)
def test_averaged_weights_beside_plain_names_are_said(
    tmp_path: Path, state: State, plain: str, averaged: str
) -> None:
    other = {**state, "classifier.1.bias": torch.ones(10)}
    torch.save({**prefixed(other, averaged), **prefixed(state, plain)}, tmp_path / "a.pth")
    said: list[str] = []
    file = read_file(tmp_path / "a.pth", said.append)
    assert np.array_equal(file.tensors["head.classifier.bias"], state["classifier.1.bias"].numpy())
    assert f"averaged weights (EMA), under '{averaged}', were left out: the plain ones were taken" in said[-1]


def prefixed(state: State, prefix: str) -> State:
    return {f"{prefix}{key}": tensor for key, tensor in state.items()}


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
            lambda s: without(s, "classifier.1.bias"),
            "the network closest to it (PONAS-B) it lacks classifier.1.bias.",
        ),
        (
            lambda s: {**s, "classifier.1.bias": torch.full((10,), float("nan"))},
            "has NaN or infinity in classifier.1.bias: its training diverged.",
        ),
        (
            lambda s: {"conv1.weight": torch.ones(3)},
            "is in no layout that is known here, which are MMRazor's SPOS, the SPOS authors',"
            " the PONAS authors' and Once-for-all's on MobileNetV3: it holds conv1.weight.",
        ),
        (
            lambda s: {**prefixed(s, "student."), **prefixed(s, "teacher."), "step": torch.tensor(1)},
            "holds 2 networks, under 'student.', 'teacher.': save the tensors of one of them alone.",
        ),
        (
            lambda s: {**prefixed(s, "model."), "criterion.weight": torch.ones(1)},
            "(PONAS-B) it has too much criterion.weight.",
        ),
        (lambda s: {"\x1b[31m": torch.ones(1)}, "it holds \\x1b[31m."),
        (lambda s: {"module." + "x" * 9999: torch.ones(1)}, "MobileNetV3: it holds module.xxx"),
    ],
)
def test_every_fault_is_named(
    tmp_path: Path, state: State, change: Callable[[State], State], words: str
) -> None:
    path = tmp_path / "faulty.pth"
    torch.save(change(state), path)
    with pytest.raises(WeightsError, match=re.escape(words)) as caught:
        read_file(path)
    assert str(caught.value).startswith(str(path))
    assert len(str(caught.value)) < 1500
    assert not (tmp_path / "home").exists()
