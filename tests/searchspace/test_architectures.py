"""Architectures: the published ones to the last parameter, and text that comes back as it went."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from searchspace import (
    Architecture,
    ArchitectureError,
    Candidate,
    Layer,
    Space,
    UnknownNameError,
    build_space,
    published,
)
from searchspace import parse_architecture as parse
from searchspace.cost import count_macs, network_cost
from searchspace.ops import Conv, GlobalPool, Linear, count_params

PONAS = build_space("ponas")

# facts/ponas.md: expansion, kernel, s for squeeze-and-excite; layer by layer.
FACTS = {
    "PONAS-A": "6,5 | 3,5 | 3,7s 3,5s 3,5 3,7 | 6,7s 3,5s 3,5s 3,5s | 3,5 3,7 3,7 3,7s | 6,7s 3,7s 3,5 3,7s"
    " | 6,5s",
    "PONAS-B": "6,3s | 3,7s | 6,5 3,5s 3,5 3,5 | 6,7 3,5s 3,5s 3,5s | 6,5s 3,7 3,7 3,7s | 6,7s 3,7s 3,5 3,7"
    " | 6,5s",
    "PONAS-C": "6,5 | 3,7s | 6,5s 3,5s 3,5 3,7 | 6,7 3,5s 3,7s 6,5s | 6,5s 3,7 3,7 6,5s | 6,7s 3,7s 3,5 3,7s"
    " | 6,5s",
}
GOLDENS = {
    "PONAS-A": (5_104_022, 328_907_360),
    "PONAS-B": (5_083_322, 351_157_664),
    "PONAS-C": (5_587_622, 379_348_832),
}
INDICES = st.lists(st.integers(0, 11), min_size=19, max_size=19)


def as_labels(facts: str) -> tuple[str, ...]:
    entries = [entry.split(",") for entry in facts.replace("|", " ").split()]
    return tuple(f"k{k.rstrip('s')}e{e}{'se' if k.endswith('s') else ''}" for e, k in entries)


@pytest.mark.parametrize("name", GOLDENS)
def test_the_published_networks_are_the_papers(name: str) -> None:
    architecture = parse(name, PONAS)
    assert architecture.choices == as_labels(FACTS[name])
    assert (network_cost(count_params, architecture), network_cost(count_macs, architecture)) == GOLDENS[name]


def test_every_published_network_fits_its_space() -> None:
    for name, space in published().items():
        assert parse(name.lower(), build_space(space)).space.name == space


@settings(deadline=None)
@given(INDICES)
def test_the_text_form_comes_back(indices: list[int]) -> None:
    architecture = Architecture.from_indices(PONAS, indices)
    assert architecture.indices == tuple(indices)
    assert parse(architecture.text, PONAS) == architecture


@pytest.mark.parametrize("separator", [",", " ", ", ", "|", "\n"])
def test_labels_may_be_separated_as_one_likes(separator: str) -> None:
    architecture = parse("PONAS-B", PONAS)
    assert parse(separator.join(architecture.choices), PONAS) == architecture


@pytest.mark.parametrize("text", ["PONAS-D", "", "k5e3", "no/such/file.txt"])
def test_an_unknown_name_lists_the_published_ones(text: str) -> None:
    with pytest.raises(UnknownNameError, match=r"known are .*PONAS-A, PONAS-B, PONAS-C"):
        parse(text, PONAS)


def test_an_unknown_candidate_lists_the_layers_own() -> None:
    labels = ["k3e3"] * 18 + ["k9e9"]
    with pytest.raises(UnknownNameError, match=r"candidate of layer 19 'k9e9': known are k3e3, .*k7e6se"):
        parse(",".join(labels), PONAS)


@pytest.mark.parametrize(
    ("text", "guess"),
    [
        ("ponas-d", "PONAS-A, PONAS-B or PONAS-C"),
        ("SPOS-MMRASOR", "SPOS-MMRAZOR"),
        ("mobilenet-v3-large", "MobileNetV3-Large"),
        (",".join(["k3e3"] * 18 + ["K3E3"]), "k3e3"),
    ],
)
def test_what_may_be_meant_is_asked(text: str, guess: str) -> None:
    with pytest.raises(UnknownNameError) as unknown:
        parse(text, PONAS)
    assert str(unknown.value).endswith(f". Did you mean {guess}?")


@pytest.mark.parametrize("text", ["", "resnet", "x" * 10_000])
def test_nothing_is_guessed_where_nothing_is_alike(text: str) -> None:
    with pytest.raises(UnknownNameError) as unknown:
        parse(text, PONAS)
    assert "Did you mean" not in str(unknown.value)


def test_too_many_choices_are_refused() -> None:
    with pytest.raises(ArchitectureError, match="has 19 layers, but 20 choices"):
        parse(",".join(["k3e3"] * 20), PONAS)


def test_a_space_of_one_layer_has_a_text_form() -> None:
    stem, head = (Conv("conv", 3, 8),), (GlobalPool(), Linear("classifier", 8, 10))
    only = Layer("1", (Candidate("wide", (Conv("conv", 8, 8),)), Candidate("skip", ())))
    space = Space("small", stem, (only,), head, 32, 10)
    assert parse("skip", space) == Architecture.from_text(space, "skip") == Architecture(space, ("skip",))


def test_a_published_name_of_another_space_says_so() -> None:
    other = replace(PONAS, name="other", published=())
    with pytest.raises(ArchitectureError, match="PONAS-A belongs to space 'ponas', not 'other'"):
        parse("PONAS-A", other)
