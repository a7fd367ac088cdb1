"""The spaces of SPOS: golden counts of published networks, MMRazor's counter, blocks of one kind
everywhere."""

from __future__ import annotations

import pytest

from searchspace import Architecture, ArchitectureError, UnknownNameError, build_space, parse_architecture
from searchspace.cost import count_macs, count_mmrazor, network_cost
from searchspace.description import describe
from searchspace.ops import count_params, parameters
from searchspace.space import Space

SHUFFLE = ("shuffle_3x3", "shuffle_5x5", "shuffle_7x7", "shuffle_xception")


def millions(space: Space, label: str) -> float:
    """MACs of the network with one candidate everywhere, in millions, one decimal."""
    return round(network_cost(count_macs, Architecture(space, (label,) * len(space.layers))) / 1e6, 1)


@pytest.mark.parametrize(
    ("space", "name", "params", "macs", "flops"),
    [
        ("spos-shufflenet", "SPOS-MMRAZOR", 3_353_592, 316_019_520, 327_544_320),
        ("spos-shufflenet", "SPOS-PAPER", 3_558_952, 321_915_200, 333_668_928),
        ("spos-shufflenet-authors", "SPOS-PAPER", 3_558_464, 322_918_720, None),
        ("spos-proxyless", "SPOS-ANGLENAS", 5_936_776, 470_792_064, 490_136_480),
    ],
)
def test_published_networks_have_their_published_counts(
    space: str, name: str, params: int, macs: int, flops: int | None
) -> None:
    described = describe(parse_architecture(name, build_space(space)), counter="mmrazor")
    assert (described.params, described.macs) == (params, macs)
    assert flops in (None, described.flops)
    assert described.architecture.name == name


@pytest.mark.parametrize(
    ("space", "label", "macs"),
    [
        *zip(["spos-shufflenet"] * 4, SHUFFLE, [294.8, 312.7, 339.4, 357.8], strict=True),
        ("spos-proxyless", "mb_k7e6", 1036.7),
        ("spos-proxyless", "identity", 83.3),
    ],
)
def test_one_candidate_everywhere_costs_what_the_facts_say(space: str, label: str, macs: float) -> None:
    assert millions(build_space(space), label) == macs


def test_supernets_are_as_large_as_mmrazors() -> None:
    """Their counts of all parameters, running statistics left out."""
    for name, expected in (("spos-shufflenet", 8_488_600), ("spos-proxyless", 27_852_880)):
        space = build_space(name)
        candidates = (candidate.ops for layer in space.layers for candidate in layer.candidates)
        assert sum(map(count_params, (space.stem, *candidates, space.head))) == expected


def test_strides_and_shapes_are_those_of_a_block_not_of_each_branch() -> None:
    parts = describe(parse_architecture("SPOS-PAPER", build_space("spos-shufflenet"))).parts
    assert [part.stride for part in parts] == [2, *([2, 1, 1, 1] * 2), 2, *[1] * 7, 2, 1, 1, 1, 1]
    assert parts[-1].input_shape == (640, 7, 7)


def test_the_identity_costs_nothing_where_the_shape_stays_and_has_a_cell_of_its_own_elsewhere() -> None:
    space = build_space("spos-proxyless")
    kept = [layer for layer in space.layers if layer.absent is not None]
    assert len(kept) == 15
    for layer, shape in zip(space.layers, space.layer_shapes(), strict=False):
        identity = layer.candidate("identity").ops
        assert (count_macs(identity, shape) == 0) == (layer.absent is not None), layer.name
        assert [one.name for one in parameters(identity, "")][:1] in ([], [".shortcut.conv.weight"])
    assert not space.stages


def test_a_counter_that_nobody_knows_is_refused() -> None:
    with pytest.raises(UnknownNameError, match="unknown counter 'flops': known are mmrazor"):
        describe(parse_architecture("PONAS-A", build_space("ponas")), counter="flops")


def test_mmrazors_counter_counts_squeeze_and_excite_and_swish_too() -> None:
    network = parse_architecture("k5e4," * 20, build_space("ofa-mbv3"))
    assert network_cost(count_mmrazor, network) > network_cost(count_macs, network)


def test_a_network_of_one_space_is_not_one_of_another() -> None:
    with pytest.raises(ArchitectureError, match="SPOS-ANGLENAS belongs to space 'spos-proxyless'"):
        parse_architecture("SPOS-ANGLENAS", build_space("spos-shufflenet"))
