"""Cropping the largest block: first channels, centre of the kernel."""
# ruff: noqa: E402

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="needs the train extra (torch)")

from ponas_deploy.errors import WeightsError
from searchspace import build_space
from searchspace.weights import random_block
from train.networks import crop, largest

LAYERS = build_space("ponas", 32, 10).layers


def source_of(layer: int) -> dict[str, torch.Tensor]:
    arrays = random_block(largest(LAYERS[layer]).ops, "x")
    return {name.removeprefix("x."): torch.from_numpy(array) for name, array in arrays.items()}


@pytest.mark.parametrize("layer", range(19))
def test_the_largest_block_is_the_last_candidate_of_ponas(layer: int) -> None:
    assert largest(LAYERS[layer]).label == "k7e6se"


@pytest.mark.parametrize("layer", [0, 1, 18])
def test_cropping_to_the_same_size_is_the_identity(layer: int) -> None:
    source = source_of(layer)
    cut = crop(source, largest(LAYERS[layer]).ops)
    assert cut.keys() == source.keys()
    assert all(torch.equal(cut[name], source[name]) for name in source)


def test_first_channels_and_centre_of_the_kernel() -> None:
    source = source_of(1)  # 32 -> 32 channels, 192 wide
    cut = crop(source, LAYERS[1].candidate("k3e3se").ops)
    expected = {
        "expand.conv.weight": source["expand.conv.weight"][:96],
        "expand.norm.running_var": source["expand.norm.running_var"][:96],
        "depthwise.conv.weight": source["depthwise.conv.weight"][:96, :, 2:5, 2:5],
        "depthwise.norm.bias": source["depthwise.norm.bias"][:96],
        "se.reduce.weight": source["se.reduce.weight"][:24, :96],
        "se.reduce.bias": source["se.reduce.bias"][:24],
        "se.expand.weight": source["se.expand.weight"][:96, :24],
        "se.expand.bias": source["se.expand.bias"][:96],
        "project.conv.weight": source["project.conv.weight"][:, :96],
        "project.norm.weight": source["project.norm.weight"],
    }
    for name, tensor in expected.items():
        assert torch.equal(cut[name], tensor), name


@pytest.mark.parametrize(("label", "near"), [("k5e6", slice(1, 6)), ("k3e6", slice(2, 5))])
def test_the_centre_of_other_kernels(label: str, near: slice) -> None:
    source = source_of(0)
    cut = crop(source, LAYERS[0].candidate(label).ops)
    assert torch.equal(cut["depthwise.conv.weight"], source["depthwise.conv.weight"][:, :, near, near])
    assert not any(name.startswith("se.") for name in cut)


def test_a_crop_does_not_share_memory() -> None:
    source = source_of(0)
    cut = crop(source, largest(LAYERS[0]).ops)
    cut["project.norm.weight"].zero_()
    assert source["project.norm.weight"].abs().sum() > 0


def test_what_cannot_be_cropped_is_named() -> None:
    small, ops = source_of(0), largest(LAYERS[1]).ops
    with pytest.raises(
        WeightsError, match=r"'expand.conv.weight' of shape \(192, 32, 1, 1\) cannot be cropped"
    ):
        crop(small, ops)
    without = {name: tensor for name, tensor in source_of(1).items() if not name.startswith("se.")}
    with pytest.raises(WeightsError, match=r"the largest block has no 'se.reduce.weight' to crop from"):
        crop(without, ops)
