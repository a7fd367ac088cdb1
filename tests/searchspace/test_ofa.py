"""Once-for-all on MobileNetV3: counts of the authors' own code, and layers that may be absent."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings

from searchspace import (
    SPACES,
    Architecture,
    ArchitectureError,
    Layer,
    Space,
    SpaceError,
    build_space,
    parse_architecture,
)
from searchspace.cost import cost_table, count_macs, network_cost
from searchspace.depth import count_combinations
from searchspace.description import describe
from searchspace.ops import Residual, SqueezeExcite, count_params, walk
from searchspace.space import is_empty
from searchspace.spaces import fingerprint_of
from searchspace.weights import network_of, network_parameters, random_weights
from small_staged_spaces import every_list, is_legal, layer, staged, staged_spaces

OFA, WIDER = build_space("ofa-mbv3"), build_space("ofa-mbv3-w1.2")
TUTORIAL = (
    "k5e3 k3e3 absent absent, k5e4 k3e4 absent absent, k7e6 k7e3 k3e4 absent, k5e4 k5e4 k7e4 k3e3,"
    " k3e6 k3e6 k5e6 absent"
)
"""The network of the authors' tutorial, of width 1.2."""


@pytest.mark.parametrize(
    ("space", "resolution", "text", "params", "macs"),
    [
        ("ofa-mbv3", 224, "k5e6," * 20, 7_445_880, 486_353_184),
        ("ofa-mbv3", 160, "k3e4,k3e4,k3e4,absent," * 5, 4_481_136, 116_416_064),
        ("ofa-mbv3", 192, "k7e4,k7e4,absent,absent," * 5, 3_875_480, 144_059_136),
        ("ofa-mbv3-w1.2", 192, TUTORIAL, 7_711_880, 264_008_640),
    ],
)
def test_networks_count_what_the_authors_code_counts(
    space: str, resolution: int, text: str, params: int, macs: int
) -> None:
    architecture = parse_architecture(text, build_space(space, resolution))
    found = describe(architecture)
    assert (found.params, found.macs) == (params, macs)
    assert parse_architecture(architecture.text, architecture.space) == architecture


def test_counts_add_up_exactly_and_the_fixed_part_is_known() -> None:
    params, macs = cost_table(count_params, OFA), cost_table(count_macs, OFA)
    assert (params[0], macs[0]) == (2_666_248, 20_471_808)
    for space in (OFA, WIDER):
        fixed, cells = cost_table(count_macs, space)
        for seed in range(3):
            network = drawn(space, seed)
            added = fixed + sum(row[index] for row, index in zip(cells, network.indices, strict=True))
            assert network_cost(count_macs, network) == added


def drawn(space: Space, seed: int) -> Architecture:
    rng = np.random.default_rng(seed)
    picked = np.array([rng.integers(size) for size in space.groups.sizes])
    return Architecture.from_indices(space, space.groups.choices(picked).tolist())


def test_layers_of_a_stage_share_their_cells() -> None:
    cells = {cell.key: cell for row in OFA.cells() for cell in row}
    assert sum(1 for key in cells if not is_empty(key)) == 90
    assert all(cell.ops == () for key, cell in cells.items() if is_empty(key))


def test_squeeze_and_excite_is_as_wide_as_the_authors_round_it() -> None:
    hidden: dict[int, list[int]] = {}
    for one, shape in zip(OFA.layers, OFA.layer_shapes(), strict=False):
        for candidate in one.candidates[::3]:
            for op in walk(candidate.ops):
                if isinstance(op, SqueezeExcite) and len(hidden.setdefault(shape[0], [])) < 3:
                    hidden[shape[0]].append(op.hidden)
                    assert op.gate == "hard_sigmoid"
    assert hidden == {
        24: [24, 24, 40],
        40: [32, 40, 64],
        80: [64, 80, 120],
        112: [88, 112, 168],
        160: [120, 160, 240],
    }


@pytest.mark.parametrize(
    ("resolution", "sides"), [(132, (66, 33, 17, 9, 9, 5)), (188, (94, 47, 24, 12, 12, 6))]
)
def test_odd_sizes_are_rounded_up(resolution: int, sides: tuple[int, ...]) -> None:
    shapes = build_space("ofa-mbv3", resolution).layer_shapes()
    assert tuple(shape[1] for shape in shapes[::4]) == sides


def test_a_resolution_is_a_multiple_of_four_and_has_no_upper_limit() -> None:
    with pytest.raises(SpaceError, match=r"'ofa-mbv3' at 226 px: .* multiples of 4 pixels, take 224 or 228"):
        build_space("ofa-mbv3", 226)
    with pytest.raises(SpaceError, match=r"'ofa-mbv3-w1\.2' at 3 px: .* take 4\."):
        build_space("ofa-mbv3-w1.2", 3)
    assert build_space("ofa-mbv3", 256).fingerprint == OFA.fingerprint != WIDER.fingerprint


@pytest.mark.parametrize(
    ("stage", "text"),
    [(2, "k3e3,k3e3,absent,k5e6"), (0, "k3e3,k3e3,absent,k3e3")],
)
def test_nothing_follows_an_absent_layer_of_a_stage(stage: int, text: str) -> None:
    choices = ["k3e3"] * 20
    choices[4 * stage : 4 * stage + 4] = text.split(",")
    last = f"L{4 * stage + 3}"
    with pytest.raises(
        ArchitectureError, match=f"^layer '{last}' is '{choices[4 * stage + 3]}' behind layer"
    ):
        parse_architecture(",".join(choices), OFA)
    with pytest.raises(ArchitectureError, match=f"Leave '{last}' out too, or choose a candidate for"):
        Architecture(OFA, tuple(choices))


def test_of_a_file_that_lacks_a_middle_layer_no_network_is_recognised() -> None:
    network = parse_architecture("k3e3,k3e3,k3e3,absent," * 5, build_space("ofa-mbv3", 32, 10))
    weights = random_weights(network)
    assert network_of(weights, network.space) == network
    full = parse_architecture("k3e3," * 20, network.space)
    gap = {name: value for name, value in random_weights(full).items() if "layers.L2." not in name}
    assert network_of(gap, network.space) is None
    assert not any("L3." in parameter.name for parameter in network_parameters(network))


@settings(max_examples=60)
@given(staged_spaces())
def test_the_groups_hold_every_legal_network_once(space: Space) -> None:
    every = every_list(space)
    allowed = [indices for indices in every if is_legal(space, indices)]
    groups = space.groups
    picked = np.array(list(product(*map(range, groups.sizes))), dtype=np.intp)
    found = [tuple(row) for row in groups.choices(picked).tolist()]
    assert sorted(found) == allowed
    for indices in every:
        labels = [space.labels[place][index] for place, index in enumerate(indices)]
        assert (space.depth_fault(labels) is None) == is_legal(space, indices)
    column = [np.arange(len(layer.candidates)) * 10.0**place for place, layer in enumerate(space.layers)]
    totals = [sum(values) for values in product(*groups.joined(column))]
    assert totals == [sum(c[i] for c, i in zip(column, row, strict=True)) for row in found]
    for tail in space.tails:
        sizes = [len(space.layers[place].candidates) for place, _ in tail]
        assert count_combinations(sizes) in (1, *groups.sizes)


@pytest.mark.parametrize(
    ("stages", "layers", "said"),
    [
        ((2, 2), (layer("a", 1, None), layer("b", 1, 1)), r"its stages have 2 \+ 2 layers, and there are 2"),
        ((2, 0), (layer("a", 1, None), layer("b", 1, 1)), r"its stages have 2 \+ 0 layers"),
        ((2,), (layer("a", 1, 1), layer("b", 1, None)), "layer 'b' cannot be absent, but one before it"),
        ((4,), tuple(layer(name, 8, 8) for name in "abcd"), "have 4681 combinations: at most 4096"),
    ],
)
def test_stages_are_checked_when_a_space_is_made(
    stages: tuple[int, ...], layers: tuple[Layer, ...], said: str
) -> None:
    with pytest.raises(SpaceError, match=f"space 'staged': .*{said}"):
        staged(stages, layers)


def test_the_depth_rule_is_part_of_the_fingerprint() -> None:
    layers = layer("a", 1, 1), layer("b", 1, 1)
    free = staged((), layers)
    ruled = replace(free, stages=(2,))
    assert free.groups.sizes == (2, 2)
    assert ruled.groups.sizes == (3,)
    assert len({free.fingerprint, ruled.fingerprint, replace(free, stages=(1, 1)).fingerprint}) == 3


def test_the_first_block_has_a_residual() -> None:
    for space in (OFA, WIDER):
        assert [type(op) for op in space.stem[1:]] == [Residual]


def test_a_space_is_made_once_and_its_fingerprint_is_that_of_every_size() -> None:
    for name in SPACES:
        small = build_space(name, 64, 10)
        assert build_space(name, 64, 10) is small
        assert fingerprint_of(name) == small.fingerprint
