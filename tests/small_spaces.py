"""Spaces small enough to try every architecture of them, for the tests of the searches."""

from __future__ import annotations

from itertools import product

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Column = list[Floats]

VALUES = {
    "ties": st.integers(0, 3).map(float),
    "hundredths": st.integers(0, 2000).map(lambda hundredths: hundredths / 100),
    "signed": st.integers(-300, 300).map(lambda tenths: tenths / 10),
    "macs": st.integers(1, 40_000_000).map(float),
    "reals": st.floats(0, 10, allow_subnormal=False),
}


@st.composite
def spaces(draw: st.DrawFn, columns: int, kinds: tuple[str, ...] = tuple(VALUES)) -> tuple[Column, ...]:
    """`columns` tables over the same layers, one to four with one to four candidates each."""
    sizes = draw(st.lists(st.integers(1, 4), min_size=1, max_size=4))
    tables = []
    for _ in range(columns):
        value = VALUES[draw(st.sampled_from(kinds))]
        table = [np.array(draw(st.lists(value, min_size=n, max_size=n))) for n in sizes]
        if draw(st.booleans()) and len(table) > 1 and table[0].size == table[-1].size:
            table[-1] = table[0]  # the repeated layers of a real space
        tables.append(table)
    return tuple(tables)


def every_architecture(column: Column) -> NDArray[np.intp]:
    return np.array(list(product(*(range(layer.size) for layer in column))), dtype=np.intp)


def every_total(column: Column, fixed: float = 0.0) -> Floats:
    """Totals in the order of `every_architecture`, added up in plain floating point."""
    return np.array([fixed + sum(values) for values in product(*column)], dtype=np.float64)
