"""The layout of the SPOS authors' checkpoints (github.com/megvii-model/SinglePathOneShot): networks and
supernets.

    first_conv.{0,1}                                  stem.conv (conv, then norm)
    features.<n>.branch_proj.<i>, branch_main.<i>     layers.<the n-th>.skip_*, and the others      n from 0
    to 19 features.<n>.<id>....                             the same of a supernet, id from 0 to 3 for its
    candidate conv_last.{0,1}                                   head.conv classifier.0
    head.classifier

`i` is a place in a row of convolutions, batch norms and ReLUs. A network's file does not name its candidates:
each is told by its shapes. The batch norms of a supernet have no weight and no bias, which is the same as 1
and 0; where one of them has, all of them must.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from searchspace.architecture import Architecture, layer_prefix
from searchspace.authors import (
    AuthorsNetwork,
    Layout,
    Named,
    Shape,
    by_our_names,
    check_tensors,
    classes_in,
    closest,
    named,
    plain_tensors,
    prefixes,
)
from searchspace.space import HEAD, STEM, Candidate, Layer
from searchspace.spaces import build_space
from searchspace.weights import Tensor

SPACE = "spos-shufflenet-authors"
_LAYOUT = "the SPOS authors'"
_LANDMARKS = ("first_conv.0.weight", "features.0.branch_main.0.weight", "features.0.0.branch_main.0.weight")
_CLASSIFIER = ("classifier.0.weight",)
_FIRST_OF_SUPERNET = "features.0.0."
_FILLED = {"norm.weight": 1.0, "norm.bias": 0.0}
"""What a batch norm without these two has."""

_SKIP = {"skip_depthwise": ("branch_proj", 0, 1), "skip_pointwise": ("branch_proj", 2, 3)}
_MAIN = {
    "pointwise1": ("branch_main", 0, 1),
    "depthwise": ("branch_main", 3, 4),
    "pointwise2": ("branch_main", 5, 6),
}
_XCEPTION = {
    f"{kind}{number + 1}": ("branch_main", 5 * number + first, 5 * number + first + 1)
    for number in range(3)
    for kind, first in (("depthwise", 0), ("pointwise", 2))
}
_STEM, _LAST = {"conv": ("first_conv", 0, 1)}, {"conv": ("conv_last", 0, 1)}


def is_spos_authors_layout(names: Iterable[str]) -> bool:
    """Whether tensors of these names are in the authors' layout, whatever stands before all of them."""
    names = tuple(names)
    return bool(prefixes(names, _LANDMARKS[:1])) and bool(prefixes(names, _LANDMARKS[1:]))


def spos_authors_network(file: str, tensors: Mapping[str, Tensor]) -> AuthorsNetwork[Tensor]:
    """Tensors in the authors' layout as a supernet of ours, or as the network that their shapes tell.

    Nothing is copied. Raises WeightsError, beginning with `file`, that names the missing, extra and wrongly
    shaped tensors.
    """
    prefix, averaged, found = plain_tensors(file, tensors, _LANDMARKS)
    shapes = {name: tuple(tensor.shape) for name, tensor in found.items()}
    space = build_space(SPACE, 224, classes_in(shapes, _CLASSIFIER))
    supernet = any(name.startswith(_FIRST_OF_SUPERNET) for name in found)
    choices = tuple(_closest(layer, place, shapes) for place, layer in enumerate(space.layers))
    architecture = Architecture(space, choices)
    wanted = dict(_keys(architecture, supernet))
    fill = dict(_filled(wanted, found)) if supernet else {}
    wanted = {name: (shape, ours) for name, (shape, ours) in wanted.items() if ours not in fill}
    against = (
        f"the supernet of space '{SPACE}'" if supernet else f"the network closest to it ({architecture.name})"
    )
    check_tensors(file, against, {name: shape for name, (shape, _) in wanted.items()}, found, _LAYOUT)
    ours, theirs = by_our_names(wanted, found, prefix)
    layout: Layout = "supernet" if supernet else "network"
    return AuthorsNetwork(architecture, ours, theirs, prefix, averaged, layout, fill)


def _filled(
    wanted: Mapping[str, tuple[Shape, str]], found: Mapping[str, Tensor]
) -> Iterator[tuple[str, tuple[Shape, float]]]:
    """The shapes and values of batch norms' weights and biases by our names; none where a file has any."""
    filled = {name: end for name, (_, ours) in wanted.items() for end in _FILLED if ours.endswith(end)}
    if filled.keys().isdisjoint(found):
        for name, end in filled.items():
            shape, ours = wanted[name]
            yield ours, (shape, _FILLED[end])


def _closest(layer: Layer, place: int, shapes: Mapping[str, Shape]) -> str:
    inside = f"features.{place}."

    def tensors_of(candidate: Candidate) -> Iterator[Named]:
        return named(layer_prefix(layer), candidate.ops, _modules(_block(candidate), inside))

    return closest(layer, inside, shapes, tensors_of)


def _keys(architecture: Architecture, supernet: bool) -> Iterator[Named]:
    space = architecture.space
    yield from named(STEM, space.stem, _modules(_STEM))
    for place, (layer, chosen) in enumerate(zip(space.layers, architecture.choices, strict=True)):
        for number, candidate in enumerate(layer.candidates):
            if supernet:
                ours, theirs = f"{layer_prefix(layer)}.{candidate.label}", f"features.{place}.{number}."
            else:
                ours, theirs = layer_prefix(layer), f"features.{place}."
            if supernet or candidate.label == chosen:
                yield from named(ours, candidate.ops, _modules(_block(candidate), theirs))
    yield from named(HEAD, space.head, {**_modules(_LAST), "classifier": "classifier.0"})


Places = Mapping[str, tuple[str, int, int]]
"""By part of ours: the row it stands in, and the places of its convolution and its batch norm there."""


def _block(candidate: Candidate) -> Places:
    return {**_SKIP, **(_XCEPTION if candidate.label == "shuffle_xception" else _MAIN)}


def _modules(parts: Places, before: str = "") -> dict[str, str]:
    found = dict[str, str]()
    for part, (row, conv, norm) in parts.items():
        found |= {f"{part}.conv": f"{before}{row}.{conv}", f"{part}.norm": f"{before}{row}.{norm}"}
    return found
