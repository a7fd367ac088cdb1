"""The PONAS space as its paper and published models settle it: numbers here are from there, not from us."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from searchspace import SPACES, Candidate, Layer, PonasError, Space, SpaceError, UnknownNameError, build_space
from searchspace.cost import cost_table, count_bytes, count_macs, network_cost
from searchspace.ops import Conv, GlobalPool, Linear, convolutions, count_params, output_shape

OUT_CHANNELS = (32, 32, 40, 40, 40, 40, 80, 80, 80, 80, 96, 96, 96, 96, 192, 192, 192, 192, 320)
STRIDES = (2, 1, 2, 1, 1, 1, 2, 1, 1, 1, 1, 1, 1, 1, 2, 1, 1, 1, 1)
INPUT_PX = (112, 56, 56, 28, 28, 28, 28, 14, 14, 14, 14, 14, 14, 14, 14, 7, 7, 7, 7)
PONAS = build_space("ponas")


def test_the_layers_are_those_of_the_published_models() -> None:
    shapes = PONAS.layer_shapes()
    assert [layer.name for layer in PONAS.layers] == [str(number) for number in range(1, 20)]
    assert tuple(shape[1] for shape in shapes[:-1]) == INPUT_PX
    assert shapes[0][0] == 16
    assert tuple(shape[0] for shape in shapes[1:]) == OUT_CHANNELS
    for layer, stride, out in zip(PONAS.layers, STRIDES, OUT_CHANNELS, strict=True):
        for candidate in layer.candidates:
            convs = list(convolutions(candidate.ops))
            assert [conv.stride for conv in convs] == [1, stride, 1]
            assert convs[-1].out_channels == out


def test_every_layer_has_the_twelve_candidates() -> None:
    expected = {f"k{k}e{e}{se}" for k in (3, 5, 7) for e in (3, 6) for se in ("", "se")}
    for layer in PONAS.layers:
        assert len(layer.labels) == 12
        assert set(layer.labels) == expected


def test_all_candidates_of_a_layer_have_one_output_shape() -> None:
    for layer, shape in zip(PONAS.layers, PONAS.layer_shapes(), strict=False):
        assert len({output_shape(candidate.ops, shape) for candidate in layer.candidates}) == 1


def test_132_distinct_cells_stand_for_228() -> None:
    keys = [cell.key for row in PONAS.cells() for cell in row]
    assert (len(keys), len(set(keys))) == (228, 132)
    assert len({tuple(cell.key for cell in row) for row in PONAS.cells()}) == 11
    assert PONAS.cell(4, 3) == PONAS.cells()[4][3] == PONAS.cells()[3][3]


@pytest.mark.parametrize(("resolution", "classes"), [(224, 1000), (32, 10), (160, 2), (1, 1)])
def test_the_fingerprint_is_that_of_the_layers_alone(resolution: int, classes: int) -> None:
    assert build_space("ponas", resolution, classes).fingerprint == "f51223c53fd2ff79"


def test_resolution_and_classes_change_the_cost_and_not_the_parameters_of_layers() -> None:
    small = build_space("ponas", 32, 10)
    assert small.input_shape == (3, 32, 32)
    assert cost_table(count_params, small)[1] == cost_table(count_params, PONAS)[1]
    assert cost_table(count_macs, small)[0] < cost_table(count_macs, PONAS)[0]
    assert cost_table(count_params, PONAS)[0] - cost_table(count_params, small)[0] == 990 * 1281


def test_an_odd_resolution_is_rounded_up_as_convolutions_do() -> None:
    assert build_space("ponas", 33).layer_shapes()[0] == (16, 17, 17)


def test_the_cost_of_a_network_is_the_sum_of_its_table() -> None:
    from searchspace import Architecture

    for count in (count_macs, count_params, count_bytes):
        fixed, cells = cost_table(count, PONAS)
        for index in (0, 5, 11):
            architecture = Architecture.from_indices(PONAS, (index,) * 19)
            assert network_cost(count, architecture) == fixed + sum(row[index] for row in cells)


def test_the_stem_and_head_are_the_papers() -> None:
    stem = [conv for conv in PONAS.stem if isinstance(conv, Conv)]
    assert [(c.in_channels, c.out_channels, c.kernel, c.stride, c.groups) for c in stem] == [
        (3, 32, 3, 2, 1),
        (32, 32, 3, 1, 32),
        (32, 16, 1, 1, 1),
    ]
    head = PONAS.head[0]
    assert isinstance(head, Conv)
    assert (head.in_channels, head.out_channels) == (320, 1280)


def test_an_unknown_space_lists_those_that_exist() -> None:
    with pytest.raises(UnknownNameError, match=f"unknown space 'none': known are .*{min(SPACES)}"):
        build_space("none")


@pytest.mark.parametrize(("resolution", "classes"), [(0, 10), (-1, 10), (32, 0)])
def test_impossible_sizes_are_refused(resolution: int, classes: int) -> None:
    with pytest.raises(PonasError, match=f"resolution {resolution} px and {classes} classes"):
        build_space("ponas", resolution, classes)


STEM = (Conv("conv", 3, 8, stride=2),)
HEAD = (GlobalPool(), Linear("classifier", 8, 10))
WIDE, KEEPS = Conv("conv", 8, 16), Conv("conv", 8, 8)


def layer(name: str = "1", **ops: Conv | None) -> Layer:
    return Layer(name, tuple(Candidate(label, (op,) if op else ()) for label, op in ops.items()))


def test_a_space_may_have_one_layer_with_one_candidate_and_an_identity() -> None:
    space = Space("small", STEM, (layer(skip=None),), HEAD, 32, 10)
    assert space.layer_shapes() == ((8, 16, 16), (8, 16, 16))


@pytest.mark.parametrize(
    ("layers", "said"),
    [
        ([], "it has no layer"),
        ([layer(a=KEEPS), layer(a=KEEPS)], "layer '1' stands there 2 times"),
        (
            [layer(a=KEEPS, b=WIDE)],
            r"layer '1': candidate 'a' gives \(8, 16, 16\), but 'b' \(16, 16, 16\): the candidates",
        ),
        (
            [layer(a=WIDE), layer("2", b=KEEPS)],
            "layer '2' candidate 'b': 'conv' takes 8 channels and gets 16",
        ),
        ([layer(a=WIDE)], "head: 'classifier' takes 8 channels and gets 16"),
    ],
)
def test_a_space_checks_itself(layers: list[Layer], said: str) -> None:
    with pytest.raises(SpaceError, match=f"space 'small': {said}"):
        Space("small", STEM, tuple(layers), HEAD, 32, 10)


def test_a_head_gives_the_classes() -> None:
    with pytest.raises(SpaceError, match=r"the head gives \(10, 1, 1\): it must give 5 classes"):
        Space("small", STEM, (layer(a=KEEPS),), HEAD, 32, 5)


@pytest.mark.parametrize("label", ["", "a,b", "a b", "a|b", "a.b", "a@b", "a\n"])
def test_a_label_survives_every_file(label: str) -> None:
    with pytest.raises(SpaceError, match=r"layer '1': candidate '.*' is empty or has a blank or one of"):
        Layer("1", (Candidate(label, ()),))
    with pytest.raises(SpaceError, match=r"layer '.*' is empty or has a blank or one of"):
        Layer(label, (Candidate("a", ()),))


def test_a_layer_has_candidates_with_labels_of_their_own() -> None:
    with pytest.raises(SpaceError, match="layer '1' has no candidate"):
        Layer("1", ())
    with pytest.raises(SpaceError, match="layer '1': candidate 'a' stands there 2 times"):
        Layer("1", (Candidate("a", ()), Candidate("a", (KEEPS,))))


def test_the_largest_candidate_is_found_wherever_it_stands() -> None:
    assert layer(small=None, large=Conv("conv", 8, 8, kernel=3), middle=KEEPS).largest.label == "large"
    assert {layer.largest.label for layer in PONAS.layers} == {"k7e6se"}


def test_the_shipped_tables_are_of_this_space_cell_by_cell() -> None:
    folder = Path(__file__).resolve().parents[2] / "profiles"
    tables = [json.loads(path.read_text(encoding="utf-8")) for path in folder.rglob("*.json")]
    of_latency = [table for table in tables if table["format"].startswith("ponas.latency-table/")]
    assert of_latency
    for table in of_latency:
        space = build_space(table["space"]["name"], table["space"]["resolution"], table["space"]["classes"])
        assert table["space"]["fingerprint"] == space.fingerprint
        for layer, row in zip(table["layers"], space.cells(), strict=True):
            assert [cell["key"] for cell in layer["cells"] if "key" in cell] in (
                [],
                [cell.key for cell in row],
            )
