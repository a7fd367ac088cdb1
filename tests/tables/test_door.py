"""The door of the tables: every name it lists can be had, each from its own file."""

from __future__ import annotations

import pytest

from ponas_deploy import tables


@pytest.mark.parametrize("name", tables.__all__)
def test_the_door_hands_on_what_it_lists(name: str) -> None:
    assert getattr(tables, name) is not None


def test_another_name_is_no_attribute() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        tables.nothing  # noqa: B018
