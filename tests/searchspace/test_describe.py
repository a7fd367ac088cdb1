"""An architecture described part by part."""

from __future__ import annotations

import pytest

from searchspace import build_space, parse_architecture
from searchspace.description import describe, description_document


@pytest.mark.parametrize(
    ("name", "params", "macs"),
    [
        ("PONAS-A", 5_104_022, 328_907_360),
        ("PONAS-B", 5_083_322, 351_157_664),
        ("PONAS-C", 5_587_622, 379_348_832),
    ],
)
def test_the_parts_add_up_to_the_papers_networks(name: str, params: int, macs: int) -> None:
    description = describe(parse_architecture(name, build_space("ponas")))
    assert (description.params, description.macs) == (params, macs)
    assert [part.name for part in description.parts] == ["stem", *map(str, range(1, 20)), "head"]
    assert [part.stride for part in description.parts[:4]] == [2, 2, 1, 2]
    found = description_document(description)
    assert (found.params, found.macs, found.space) == (params, macs, "ponas")
    assert sum(layer.params for layer in found.layers) == params
    assert ",".join(found.choices) == found.text
