"""Cropping the largest block: first channels, centre of the kernel."""
# ruff: noqa: E402

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="needs the train extra (torch)")

from ponas_deploy.errors import SpaceError, WeightsError
from searchspace import Candidate, Layer, Space, build_space
from searchspace.ops import Conv, GlobalPool, Linear
from searchspace.weights import random_block
from train.networks import crop, refuse_untrainable

LAYERS = build_space("ponas", 32, 10).layers


def source_of(layer: int) -> dict[str, torch.Tensor]:
    arrays = random_block(LAYERS[layer].largest.ops, "x")
    return {name.removeprefix("x."): torch.from_numpy(array) for name, array in arrays.items()}


@pytest.mark.parametrize("layer", range(19))
def test_the_largest_block_is_the_last_candidate_of_ponas(layer: int) -> None:
    assert LAYERS[layer].largest.label == "k7e6se"


@pytest.mark.parametrize("layer", [0, 1, 18])
def test_cropping_to_the_same_size_is_the_identity(layer: int) -> None:
    source = source_of(layer)
    cut = crop(source, LAYERS[layer].largest.ops)
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
    cut = crop(source, LAYERS[0].largest.ops)
    cut["project.norm.weight"].zero_()
    assert source["project.norm.weight"].abs().sum() > 0


def test_what_cannot_be_cropped_is_named() -> None:
    small, ops = source_of(0), LAYERS[1].largest.ops
    with pytest.raises(
        WeightsError, match=r"'expand.conv.weight' of shape \(192, 32, 1, 1\) cannot be cropped"
    ):
        crop(small, ops)
    without = {name: tensor for name, tensor in source_of(1).items() if not name.startswith("se.")}
    with pytest.raises(WeightsError, match=r"the largest block has no 'se.reduce.weight' to crop from"):
        crop(without, ops)


def test_a_space_whose_candidates_are_no_parts_of_the_largest_is_refused() -> None:
    refuse_untrainable(build_space("ponas"))
    other = Candidate("other", (Conv("elsewhere", 8, 8),))
    candidates = Candidate("large", (Conv("conv", 8, 8, kernel=3),)), Candidate("skip", ()), other
    stem, head = (Conv("conv", 3, 8),), (GlobalPool(), Linear("classifier", 8, 10))
    refuse_untrainable(Space("small", stem, (Layer("1", candidates[:2]),), head, 32, 10))
    space = Space("small", stem, (Layer("1", candidates),), head, 32, 10)
    said = r"'large', its largest candidate, has no part 'elsewhere.conv.weight' \(8, 8, 1, 1\) for 'other'"
    with pytest.raises(SpaceError, match=f"layer 1 of space 'small': {said}"):
        refuse_untrainable(space)
