"""SPOS checkpoints, MMRazor's and the authors': the logits are those of networks written from their
definitions."""
# ruff: noqa: E402

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="needs the train extra (torch)")
from tiny_training import one_thread
from torch import Tensor, nn

from ponas_deploy.engines.preprocessing import preprocessing_of
from ponas_deploy.engines.weights_files import read_file
from ponas_deploy.errors import FileFormatError, WeightsError
from ponas_deploy.files.weights import write_weights
from searchspace import Architecture, build_space, parse_architecture
from searchspace.weights import random_weights
from spos_layout import (
    MOBILE_LABELS,
    SHUFFLE_LABELS,
    AuthorsNetwork,
    MMRazorNetwork,
    lively,
)
from train.networks import Network, load_arrays, to_arrays
from train.networks.paths import PathSupernet
from train.stages.paths import Uniform

CLASSES, PX = 7, 64
NAMES = {"spos-shufflenet": ["SPOS-MMRAZOR", "SPOS-PAPER"], "spos-proxyless": ["SPOS-ANGLENAS"]}
LABELS = {"spos-shufflenet": SHUFFLE_LABELS, "spos-proxyless": MOBILE_LABELS}


@pytest.fixture(autouse=True)
def _steady(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("PONAS_HOME", str(tmp_path / "home"))
    with one_thread():
        yield


def saved(state: dict[str, Tensor], path: Path, prefix: str = "") -> Path:
    torch.save({"state_dict": {prefix + name: tensor for name, tensor in state.items()}, "meta": {}}, path)
    return path


def images() -> Tensor:
    return torch.randn(2, 3, PX, PX, generator=torch.Generator().manual_seed(1))


def ours(path: Path, architecture: Architecture, x: Tensor) -> Tensor:
    network = Network(architecture)
    load_arrays(network, read_file(path).inherited(architecture))
    with torch.inference_mode():
        return network.eval()(x)


def same(found: Tensor, expected: Tensor) -> bool:
    return bool((found - expected).abs().max() <= 1e-4 * expected.abs().max())


@pytest.mark.parametrize("prefix", ["", "architecture.", "module.", "architecture.model."])
@pytest.mark.parametrize(
    ("space", "name"), [(space, name) for space, names in NAMES.items() for name in names]
)
def test_a_network_of_mmrazors_gives_its_logits(space: str, name: str, prefix: str, tmp_path: Path) -> None:
    architecture = parse_architecture(name, build_space(space, PX, CLASSES))
    theirs = lively(MMRazorNetwork([[label] for label in architecture.choices], CLASSES))
    state = dict(theirs.state_dict())
    if prefix == "architecture.model.":  # 0.x
        state = {key.replace("._candidates.", ".choices."): tensor for key, tensor in state.items()}
    path = saved(state, tmp_path / "subnet.pth", prefix)
    file = read_file(path)
    assert (file.metadata["space"], file.metadata["layout"]) == (space, "network")
    assert file.metadata["choices"] == architecture.text
    with torch.inference_mode():
        assert same(ours(path, architecture, images()), theirs(images()))


@pytest.mark.parametrize("space", NAMES)
def test_networks_inherit_from_a_supernet_of_mmrazors(space: str, tmp_path: Path) -> None:
    labels = LABELS[space]
    built = build_space(space, PX, CLASSES)
    turned = [
        labels[(place + 1) % len(labels) :] + labels[: (place + 1) % len(labels)]
        for place in range(len(built.layers))
    ]
    theirs = lively(MMRazorNetwork(turned, CLASSES))
    keys = {"spos-shufflenet": 2006, "spos-proxyless": 2330}[space]
    assert len(theirs.state_dict()) == keys
    path = saved(dict(theirs.state_dict()), tmp_path / "supernet.pth", "architecture.")
    assert read_file(path).supernet
    architecture = Architecture(built, tuple(row[0] for row in turned))
    with torch.inference_mode():
        assert same(ours(path, architecture, images()), theirs(images()))


def test_a_network_of_the_authors_gives_its_logits(tmp_path: Path) -> None:
    architecture = parse_architecture("SPOS-PAPER", build_space("spos-shufflenet-authors", PX, CLASSES))
    theirs = lively(AuthorsNetwork(architecture.choices, CLASSES))
    path = saved(dict(theirs.state_dict()), tmp_path / "checkpoint.pth.tar", "module.")
    file = read_file(path)
    assert file.metadata["choices"] == architecture.text
    with torch.inference_mode():
        assert same(ours(path, architecture, images()), theirs(images()))


def test_the_authors_supernet_has_no_weights_in_its_batch_norms(tmp_path: Path) -> None:
    theirs = lively(AuthorsNetwork((), CLASSES, supernet=True))
    path = saved(dict(theirs.state_dict()), tmp_path / "supernet.pth", "module.")
    assert read_file(path).supernet
    space = build_space("spos-shufflenet-authors", PX, CLASSES)
    with torch.inference_mode():
        assert same(ours(path, Architecture(space, ("shuffle_3x3",) * 20), images()), theirs(images()))


def test_a_batch_norm_of_a_supernet_without_what_the_others_have_is_named(tmp_path: Path) -> None:
    state = dict(AuthorsNetwork((), CLASSES, supernet=True).state_dict())
    widths = {name.removesuffix("running_mean"): mean for name, mean in state.items() if "_mean" in name}
    for name, mean in widths.items():
        state |= {f"{name}weight": torch.full_like(mean, 2.0), f"{name}bias": torch.ones_like(mean)}
    found = read_file(saved(state, tmp_path / "affine.pth")).tensors
    assert found["stem.conv.norm.weight"].tolist() == [2.0] * 16
    del state["features.3.1.branch_main.4.weight"]
    with pytest.raises(WeightsError, match=r"lacks features\.3\.1\.branch_main\.4\.weight\."):
        read_file(saved(state, tmp_path / "lacking.pth"))


@pytest.mark.parametrize("layout", ["network", "supernet"])
@pytest.mark.parametrize("name", ["spos-shufflenet", "spos-shufflenet-authors", "spos-proxyless"])
def test_tensors_without_a_header_are_of_the_space_that_they_fit(
    name: str, layout: str, tmp_path: Path
) -> None:
    space = build_space(name, PX, CLASSES)
    path = tmp_path / "weights.safetensors"
    if layout == "network":
        first = Architecture(space, tuple(layer.labels[0] for layer in space.layers))
        write_weights(path, random_weights(first), {})
    else:
        write_weights(path, to_arrays(PathSupernet(space, Uniform(space)).state_dict()), {})
    assert read_file(path).metadata["space"] == name


def test_what_the_authors_networks_see_is_bgr_from_0_to_255(tmp_path: Path) -> None:
    architecture = parse_architecture("SPOS-PAPER", build_space("spos-shufflenet-authors", PX, CLASSES))
    theirs = lively(AuthorsNetwork(architecture.choices, CLASSES))
    how = preprocessing_of(read_file(saved(dict(theirs.state_dict()), tmp_path / "a.pth")))
    assert how is not None
    picture = torch.zeros(256, 256, 3, dtype=torch.uint8)
    picture[..., 0] = 200
    assert how.input_of(picture.numpy(), 224)[:, 100, 100].tolist() == pytest.approx([0, 0, 200], abs=1e-3)


@pytest.mark.parametrize(
    ("space", "change", "reason"),
    [
        ("spos-shufflenet", "backbone.layers.2.5", r"it lacks backbone\.layers\.2\.5\._candidates\."),
        ("spos-proxyless", "backbone.layer3.0", r"it lacks backbone\.layer3\.0\._candidates\."),
        ("spos-shufflenet", "head.fc.bias", r"it lacks head\.fc\.bias"),
    ],
)
def test_what_is_missing_is_named_with_its_layer(
    space: str, change: str, reason: str, tmp_path: Path
) -> None:
    labels = [[LABELS[space][0]]] * len(build_space(space).layers)
    state = {
        name: tensor
        for name, tensor in MMRazorNetwork(labels, CLASSES).state_dict().items()
        if not name.startswith(f"{change}.") and name != change
    }
    with pytest.raises(WeightsError, match=reason):
        read_file(saved(state, tmp_path / "subnet.pth"))


def test_a_wrong_shape_and_what_is_too_much_are_named(tmp_path: Path) -> None:
    state = dict(MMRazorNetwork([["shuffle_3x3"]] * 20, CLASSES).state_dict())
    name = "backbone.layers.0.0._candidates.shuffle_3x3.branch2.1.conv.weight"
    wide = {**state, name: torch.zeros(32, 1, 9, 9)}
    with pytest.raises(
        WeightsError, match=r"wrong shapes backbone\.layers\.0\.0\..* instead of \(32, 1, 3, 3\)"
    ):
        read_file(saved(wide, tmp_path / "wide.pth"))
    with pytest.raises(WeightsError, match=r"has too much backbone\.neck\.weight"):
        read_file(saved({**state, "backbone.neck.weight": torch.zeros(3)}, tmp_path / "more.pth"))
    narrow = {**state, "backbone.conv1.conv.weight": torch.zeros(24, 3, 3, 3)}
    with pytest.raises(WeightsError, match=r"its stem has 24 channels, known are 16 \(spos-shufflenet\), 40"):
        read_file(saved(narrow, tmp_path / "narrow.pth"))


def test_nothing_in_a_checkpoint_is_run(tmp_path: Path) -> None:
    path = tmp_path / "subnet.pth"
    torch.save(
        {"state_dict": MMRazorNetwork([["shuffle_3x3"]] * 20, 2).state_dict(), "meta": nn.Linear}, path
    )
    with pytest.raises(FileFormatError, match="only plain state dicts are read"):
        read_file(path)
