"""The published networks: counts as their sources state them, and that whatever takes a space takes them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from ponas_deploy.tables.architectures import read_architecture, space_of_labels
from ponas_deploy.tables.grid import Grid, SpaceKey
from ponas_deploy.tables.known import known_space
from ponas_deploy.tables.spaces import is_sound
from searchspace import (
    SPACES,
    ArchitectureError,
    UnknownNameError,
    build_space,
    parse_architecture,
)
from searchspace.architecture import only_network
from searchspace.cost import count_macs, network_cost
from searchspace.ops import convolutions, count_params
from searchspace.space import Space
from searchspace.spaces import published_space, registry, space_named
from searchspace.zoo import fairnas, published_network, published_networks
from searchspace.zoo.chain import Style, bottlenecks, chain, first_conv, pooled_head

NETWORKS = published_networks()
UNITS = {"M": 1e6, "G": 1e9}
DOCS = Path(__file__).resolve().parents[2] / "docs" / "zoo.md"


def counts(name: str) -> tuple[int, int]:
    """Parameters and MACs where the source counts."""
    network = parse_architecture(name, build_space(name, NETWORKS[name].resolution))
    return network_cost(count_params, network), network_cost(count_macs, network)


def stated(count: int, figure: str) -> str:
    """A count with the digits and the unit of a figure."""
    digits = len(figure[:-1].partition(".")[2])
    return f"{count / UNITS[figure[-1]]:.{digits}f}{figure[-1]}"


@pytest.mark.parametrize("name", NETWORKS)
def test_counts_are_those_of_the_source_to_its_digits_or_the_row_says_how_it_counts(name: str) -> None:
    row, (params, macs) = NETWORKS[name], counts(name)
    agrees = (stated(params, row.params), stated(macs, row.macs)) == (row.params, row.macs)
    assert agrees == (not row.remark), (params, macs)


@pytest.mark.parametrize(
    ("name", "params_m"),
    [
        ("MobileNetV2", "3.50M"),
        ("MobileNetV3-Large", "5.48M"),
        ("MobileNetV3-Small", "2.54M"),
        ("MobileNetV4-Conv-S", "3.77M"),
        ("MobileNetV4-Conv-M", "9.72M"),
        ("MnasNet-A1", "3.89M"),
        ("FBNet-C", "5.57M"),
    ],
)
def test_parameters_are_those_of_timm(name: str, params_m: str) -> None:
    """Its `results/results-imagenet.csv`."""
    assert stated(counts(name)[0], params_m) == params_m


@pytest.mark.parametrize("name", ["FBNet-A", "FBNet-B", "FBNet-C"])
def test_fbnet_has_the_counts_of_its_authors_to_the_last_digit_where_they_are_counted_their_way(
    name: str,
) -> None:
    row, (params, macs), space = NETWORKS[name], counts(name), build_space(name)
    last = next(convolutions(space.head)).out_channels
    parts = (space.stem, *(layer.candidates[0].ops for layer in space.layers), space.head)
    norms = sum(2 * conv.out_channels for ops in parts for conv in convolutions(ops))
    assert stated(params - norms - space.classes, row.params) == row.params
    assert stated(macs + 7 * 7 * last, row.macs) == row.macs


@pytest.mark.parametrize(
    ("name", "params"), [("FairNAS-A", 5_835_322), ("FairNAS-B", 5_603_242), ("FairNAS-C", 5_429_530)]
)
def test_fairnas_with_squeeze_and_excite_has_the_exact_parameters_that_its_authors_state(
    name: str, params: int
) -> None:
    """Of their networks for 10 classes, squeezed to the channels of a block's input."""
    first, *others = (layer.candidates[0].label for layer in build_space(name).layers)
    words = " ".join((first, *(f"{label}se" for label in others)))
    style = Style("relu6", squeezed=lambda inputs, width: inputs)
    head = pooled_head(fairnas.STAGES[-1][0], fairnas.LAST, 10, "relu6")
    stem, blocks = first_conv(fairnas.STEM, "relu6"), bottlenecks(words, fairnas.STEM, fairnas.STAGES, style)
    space = chain("squeezed", stem, blocks, head, 224, 10)
    network = only_network(space)
    assert network is not None
    assert network_cost(count_params, network) == params


@pytest.mark.parametrize("name", NETWORKS)
def test_a_published_network_is_the_only_one_of_its_space_and_is_called_like_it(name: str) -> None:
    network = read_architecture(name.lower(), None, None, 10)
    assert (network.space.name, network.name) == (name, name)
    assert network.space.resolution == NETWORKS[name].resolution
    assert {len(labels) for labels in network.space.labels} == {1}
    assert is_sound(SpaceKey.of(network.space))


def test_names_are_taken_in_capitals_or_not_and_unknown_ones_are_refused() -> None:
    assert build_space("mobilenetv3-LARGE") is build_space("MobileNetV3-Large")
    assert published_space("MNASNET-a1") == "MnasNet-A1"
    assert published_network("MnasNet") is None
    assert build_space("SPOS-ShuffleNet") is build_space("spos-shufflenet")
    assert [space_named(name) for name in ("PONAS", "fbnet-a", "Moon")] == ["ponas", "FBNet-A", "Moon"]
    with pytest.raises(
        UnknownNameError, match=r"unknown space 'MobileNetV5': known are .*MobileNetV4-Conv-S"
    ):
        build_space("MobileNetV5")
    with pytest.raises(ArchitectureError, match="FBNet-A belongs to space 'FBNet-A', not 'ponas'"):
        parse_architecture("FBNet-A", build_space("ponas"))


def test_no_published_network_has_the_name_of_a_space_or_of_its_networks() -> None:
    of_spaces = [name.upper() for space in SPACES for name, _ in build_space(space).published]
    names = [*map(str.upper, NETWORKS), *map(str.upper, SPACES), *of_spaces]
    assert len(set(names)) == len(NETWORKS) + len(SPACES) + len(set(of_spaces))


def test_looking_for_the_space_of_labels_or_of_a_table_builds_no_published_network(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def build(*_: object) -> Space:
        raise AssertionError("a published network was built")

    rows = {name: replace(row, build=build) for name, row in NETWORKS.items()}
    monkeypatch.setattr(registry, "published_networks", lambda: rows)
    monkeypatch.setattr(registry, "published_network", lambda name: rows.get(name))
    space = build_space("ponas")
    assert space_of_labels([labels[0] for labels in space.labels]) == "ponas"
    assert known_space(Grid.over(space, ([0.0] * len(labels) for labels in space.labels))) is space
    with pytest.raises(AssertionError, match="was built"):
        build_space("FBNet-A")


def test_the_table_in_the_docs_is_that_of_the_rows() -> None:
    text = DOCS.read_text(encoding="utf-8")
    for name, row in NETWORKS.items():
        params, macs = counts(name)
        at = f"{row.resolution} px"
        cells = name, f"{params:,}", row.params, f"{macs:,}", row.macs, f"{row.top1_pct} %", at, row.source
        assert f"| {' | '.join(cells)} |\n" in text
        assert not row.remark or f"- **{name}**: {row.remark}.\n" in text
