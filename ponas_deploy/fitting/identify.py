"""What whole networks cannot tell apart, however exactly they are measured.

A constant of each layer is never known from whole networks: it goes to the fixed cost. Differences
inside a layer are known when no other combination of cells mimics them: the null space of the design
says which. Two layers are mixed up when their labels fall into groups that never meet (a bipartite
graph of several components, as in Searle, "Linear Models", 1971, on connectedness).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ponas_deploy.fitting.design import Floats, Layout

Truths = NDArray[np.bool_]

_NULL = 1e-9
"""Eigenvalues below this share of the largest are none."""
_NAMED = 4
_MOST_LAYERS_HAVE = 0.8
_ROWS_A_GROUP = 4
_ROWS_A_LABEL = 8
"""With more rows a label that a random row may have stands in one of them almost surely."""


@dataclass(frozen=True, slots=True)
class Identification:
    """Sentences, none where all candidates of all layers can be told apart.

    `wanted` is how many different networks that takes at least.
    """

    wanted: int
    sentences: tuple[str, ...]

    @property
    def complete(self) -> bool:
        """Whether the rows tell all candidates of each layer apart."""
        return not self.sentences


def identification(layout: Layout, gram: Floats, rows: int) -> Identification:
    """What `rows` different networks leave open; `gram` (P, P) counts networks with both cells.

    `layout` is of all candidates that should be known, also those no row has.
    """
    seen = np.diag(gram) > 0
    wanted = 1 + layout.size - len(layout.layers)
    each = np.diag(gram)
    total = each[: len(layout.candidates[0])].sum()
    open_ = _open_layers(layout, gram - np.outer(each, each) / total, seen)
    pairs = list(_mixed_pairs(layout, gram))
    found = [*_unseen(layout, seen, rows), *_constant(layout, seen), *(text for _, text in pairs[:_NAMED])]
    if len(pairs) > _NAMED:
        found.append(f"{len(pairs) - _NAMED} more pairs of layers are mixed up in the same way.")
    explained = {layer for two, _ in pairs for layer in two}
    rest = [layer for layer in open_ if layer not in explained]
    if rest:
        found.append(_too_few(layout, rest, rows, wanted))
    return Identification(wanted, tuple(found))


def _open_layers(layout: Layout, gram: Floats, seen: Truths) -> list[int]:
    """Layers whose seen candidates cannot be told apart.

    A null vector that is equal over a layer only moves the layer's constant.
    """
    cells = np.flatnonzero(seen)
    values, vectors = np.linalg.eigh(gram[np.ix_(cells, cells)])
    null = vectors[:, values < _NULL * max(float(values[-1]), 1.0)]
    layer_of = layout.layer_of[cells]
    open_ = []
    for layer in range(len(layout.layers)):
        part = null[layer_of == layer]
        if len(part) and float(np.abs(part - part.mean(axis=0)).max(initial=0.0)) > 1e-6:
            open_.append(layer)
    return open_


def _unseen(layout: Layout, seen: Truths, rows: int) -> Iterator[str]:
    """Cells that no row has: of a known space, or that most other layers have."""
    starts = layout.starts
    names = []
    for layer, labels in enumerate(layout.candidates):
        names += [
            f"'{label}' of layer '{layout.layers[layer]}'"
            for index, label in enumerate(labels)
            if not seen[starts[layer] + index]
        ]
    names += list(_missing(layout, rows))
    if names:
        verb = "stands" if len(names) == 1 else "stand"
        yield f"{_listed(names)} {verb} in no row: nothing is known of {'it' if len(names) == 1 else 'them'}."


def _missing(layout: Layout, rows: int) -> Iterator[str]:
    """Labels that most other layers have, where rows are so few that chance may have left them out."""
    labels = [set(row) for row in layout.candidates]
    common = set().union(*labels)
    if rows > _ROWS_A_LABEL * len(common):
        return
    varied = [row for row in labels if len(row) > 1]
    for label in sorted(common):
        if varied and sum(label in row for row in varied) >= _MOST_LAYERS_HAVE * len(varied) > 1:
            for layer, row in zip(layout.layers, labels, strict=True):
                if label not in row and len(row) > 1:
                    yield f"'{label}' of layer '{layer}'"


def _constant(layout: Layout, seen: Truths) -> Iterator[str]:
    parts = layout.split(seen.astype(np.float64))
    names = [f"'{name}'" for name, part in zip(layout.layers, parts, strict=True) if part.sum() == 1]
    if names:
        verb, it = ("has", "its") if len(names) == 1 else ("have", "their")
        yield (
            f"{'layer' if len(names) == 1 else 'layers'} {_listed(names)} {verb} the same candidate in every"
            f" row: {it} cost is in the fixed cost, and {it} other candidates are not known."
        )


def _mixed_pairs(layout: Layout, gram: Floats) -> Iterator[tuple[tuple[int, int], str]]:
    """Pairs of layers whose labels fall into groups that never meet.

    In few rows two rare labels meet by chance only; so at least two groups must hold several rows.
    """
    starts = layout.starts
    for one in range(len(layout.layers)):
        for other in range(one + 1, len(layout.layers)):
            both = gram[starts[one] : starts[one + 1], starts[other] : starts[other + 1]]
            meet = both > 0
            groups = components(meet)
            held = sorted(float(both[sorted(labels)].sum()) for labels in groups)
            if len(groups) > 1 and held[-2] >= _ROWS_A_GROUP:
                seen = (meet.any(axis=1).sum(), meet.any(axis=0).sum())
                how = "always change together" if seen == (len(groups),) * 2 else "change together"
                names = f"layers '{layout.layers[one]}' and '{layout.layers[other]}'"
                advice = "what one costs cannot be told from what the other costs."
                yield (one, other), f"{names} {how} in these rows: {advice}"


def components(meet: Truths) -> list[set[int]]:
    """Groups of the first labels (A,) that share second labels, from which pairs (A, B) meet."""
    left, groups = {int(row) for row in np.flatnonzero(meet.any(axis=1))}, []
    while left:
        rows = {left.pop()}
        while True:
            columns = meet[sorted(rows)].any(axis=0)
            grown = {row for row in left if meet[row][columns].any()} | rows
            if grown == rows:
                break
            rows = grown
        left -= rows
        groups.append(rows)
    return groups


def _too_few(layout: Layout, layers: list[int], rows: int, wanted: int) -> str:
    names = _listed([f"'{layout.layers[layer]}'" for layer in layers])
    noun = "layer" if len(layers) == 1 else "layers"
    if rows < wanted:
        return (
            f"{rows} different networks cannot tell {wanted - 1} candidates apart (in {noun} {names}):"
            f" twice as many networks as candidates, {2 * wanted}, are a good number."
        )
    return f"the candidates of {noun} {names} are mixed up with those of others: draw networks at random."


def _listed(names: list[str]) -> str:
    more = len(names) - _NAMED
    if more > 1:
        return f"{', '.join(names[:_NAMED])} and {more} more"
    return ", ".join(names[:-1]) + " and " + names[-1] if len(names) > 1 else names[0]
