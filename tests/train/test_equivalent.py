"""Candidates that cannot be told apart on small maps: found, and only found, where that is true."""
# ruff: noqa: E402

from __future__ import annotations

from collections.abc import Iterator

import pytest

torch = pytest.importorskip("torch", reason="needs the train extra (torch)")
from tiny_training import CPU, one_thread, space

from searchspace import build_space
from train.networks import Block
from train.stages.candidates import cropped
from train.stages.equivalent import equivalents


@pytest.fixture(autouse=True)
def _steady() -> Iterator[None]:
    with one_thread():
        yield


@pytest.mark.parametrize(
    ("resolution", "trained"),
    [(32, [12] * 7 + [4] * 12), (64, [12] * 15 + [4] * 4), (112, [12] * 19), (224, [12] * 19)],
)
def test_how_many_candidates_of_ponas_differ(resolution: int, trained: list[int]) -> None:
    ponas = build_space("ponas", resolution, 10)
    shapes = ponas.layer_shapes()
    assert [
        len(set(equivalents(layer, shape))) for layer, shape in zip(ponas.layers, shapes, strict=False)
    ] == trained


def test_the_largest_kernel_trains_for_its_equivalents() -> None:
    layer = space().layers[1]  # k3e3, k5e3, k3e6se, k5e6se
    assert equivalents(layer, (8, 2, 2)) == equivalents(layer, (8, 1, 1)) == (1, 1, 3, 3)
    assert equivalents(layer, (8, 4, 4)) == equivalents(layer, (8, 1, 3)) == (0, 1, 2, 3)


@pytest.mark.parametrize("side", [1, 2, 3, 4])
@pytest.mark.parametrize("layer", [0, 1])
def test_candidates_have_the_same_values_if_and_only_if_they_are_equivalent(layer: int, side: int) -> None:
    torch.manual_seed(0)
    of_layer = space().layers[layer]
    source = Block(of_layer.largest.ops)
    blocks = [block.eval() for block in cropped(of_layer, source, CPU)]
    channels = space().layer_shapes()[layer][0]
    with torch.no_grad():
        outputs = [block(torch.ones(2, channels, side, side)) for block in blocks]
    places = equivalents(of_layer, (channels, side, side))
    for a in range(len(blocks)):
        for b in range(len(blocks)):
            same = torch.allclose(outputs[a], outputs[b], atol=1e-6)
            assert same == (places[a] == places[b]), (of_layer.labels[a], of_layer.labels[b])
