"""The layouts of MMRazor's SPOS networks (github.com/open-mmlab/mmrazor): names of modules, and checkpoints.

    backbone.conv1.{conv,bn}                           stem.conv
    backbone.layers.<s>.<b>, backbone.layer<s>.<b>     layers.stage_<s>_block_<b>     ShuffleNetV2, MobileNet
      ._candidates.<label>.<part>.{conv,bn}              the parts of a candidate
    backbone.layers.4, backbone.conv2                  head.conv
    head.fc                                            head.classifier

MobileNet's stages count from 1, and their first is a fixed block of the stem's. Files of 0.x have `.choices.`
for `._candidates.`. The file of a network has the names of a supernet's, of its chosen candidates alone, so
that which one it is can be read from them. What stands before every name (`architecture.`,
`architecture.model.`) is left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from searchspace.architecture import Architecture, layer_prefix
from searchspace.authors import (
    AuthorsNetwork,
    Layout,
    Named,
    Shape,
    by_our_names,
    check_tensors,
    classes_in,
    named,
    plain_tensors,
    prefixes,
)
from searchspace.errors import WeightsError
from searchspace.ops import convolutions
from searchspace.space import HEAD, STEM, Layer, Space
from searchspace.spaces import build_space
from searchspace.weights import Tensor

_LAYOUT = "MMRazor's SPOS"
_STEM = "backbone.conv1.conv.weight"
_CLASSIFIER = ("head.fc.weight", "head.fc.bias")
_CANDIDATES, _CHOICES = "._candidates.", ".choices."
"""What stands between a module and the label of its candidate, in files of 1.x and of 0.x."""


@dataclass(frozen=True, slots=True)
class Fixed:
    """A block that is not searched, which MMRazor's files list all the same: its module and its label."""

    module: str
    label: str


FIXED = {"spos-proxyless": Fixed("backbone.layer1.0", "mb_k3e1")}
"""That of the stem, by space."""
SPACES_OF_MMRAZOR = ("spos-shufflenet", "spos-proxyless")
_LAST = {"spos-shufflenet": "backbone.layers.4", "spos-proxyless": "backbone.conv2"}
_PARTS = {
    "expand": "expand_conv",
    "depthwise": "depthwise_conv",
    "project": "linear_conv",
    "shortcut": "downsample",
}
_SHUFFLE_PARTS = {
    "skip_depthwise": "branch1.0",
    "skip_pointwise": "branch1.1",
    "pointwise1": "branch2.0",
    "depthwise": "branch2.1",
    "pointwise2": "branch2.2",
}
_XCEPTION_PARTS = {
    "skip_depthwise": "branch1.0",
    "skip_pointwise": "branch1.1",
    **{f"depthwise{number + 1}": f"branch2.{number}.depthwise_conv" for number in range(3)},
    **{f"pointwise{number + 1}": f"branch2.{number}.pointwise_conv" for number in range(3)},
}


def module_of(space: Space, layer: Layer) -> str:
    """MMRazor's name of a layer's module, as its checkpoints and its `fix_subnet` files of 1.x have it."""
    _, stage, _, block = layer.name.split("_")
    place = f"layer{int(stage) + 1}" if space.name in FIXED else f"layers.{stage}"
    return f"backbone.{place}.{block}"


def is_mmrazor_layout(names: Iterable[str]) -> bool:
    """Whether tensors of these names are a network or supernet of MMRazor's, whatever stands before them."""
    names = tuple(names)
    candidates = any(_CANDIDATES in name or _CHOICES in name for name in names)
    return candidates and bool(prefixes(names, (_STEM,)))


def mmrazor_network(file: str, tensors: Mapping[str, Tensor]) -> AuthorsNetwork[Tensor]:
    """Tensors in MMRazor's layout as a supernet of ours, or as the network that their names tell.

    Nothing is copied. Raises WeightsError, beginning with `file`, that names another space, or the missing,
    extra and wrongly shaped tensors.
    """
    prefix, averaged, found = plain_tensors(file, tensors, (_STEM,))
    space = _space(file, {name: tuple(tensor.shape) for name, tensor in found.items()})
    mark = _CHOICES if any(_CHOICES in name for name in found) else _CANDIDATES
    present = [_present(space, layer, mark, found) for layer in space.layers]
    supernet = any(len(labels) > 1 for labels in present)
    choices = (_chosen(layer, labels) for layer, labels in zip(space.layers, present, strict=True))
    architecture = Architecture(space, tuple(choices))
    wanted = dict(_keys(architecture, mark, supernet))
    closest = f"the supernet of space '{space.name}'" if supernet else f"the network {architecture.name}"
    check_tensors(file, closest, {name: shape for name, (shape, _) in wanted.items()}, found, _LAYOUT)
    ours, theirs = by_our_names(wanted, found, prefix)
    layout: Layout = "supernet" if supernet else "network"
    return AuthorsNetwork(architecture, ours, theirs, prefix, averaged, layout)


def _space(file: str, shapes: Mapping[str, Shape]) -> Space:
    """The space whose stem the file has, with as many classes."""
    classes = classes_in(shapes, _CLASSIFIER)
    stems = {_stem_channels(space): space for space in (build_space(name, 224, classes) for name in _LAST)}
    channels = next(iter(shapes[_STEM]), 0)
    if channels not in stems:
        known = ", ".join(f"{wide} ({space.name})" for wide, space in stems.items())
        raise WeightsError(
            f"{file} is of another space: its stem has {channels} channels, known are {known}."
        )
    return stems[channels]


def _stem_channels(space: Space) -> int:
    return next(convolutions(space.stem)).out_channels


def _present(space: Space, layer: Layer, mark: str, names: Iterable[str]) -> list[str]:
    """The candidates of a layer that a file holds a tensor of."""
    inside = f"{module_of(space, layer)}{mark}"
    found = {name.removeprefix(inside).partition(".")[0] for name in names if name.startswith(inside)}
    return [label for label in layer.labels if label in found]


def _chosen(layer: Layer, present: list[str]) -> str:
    """The candidate that a file has of a layer; without any the one that has no tensors, else the first."""
    if present or layer.absent is None:
        return (*present, *layer.labels)[0]
    return layer.candidates[layer.absent].label


def _keys(architecture: Architecture, mark: str, supernet: bool) -> Iterator[Named]:
    space = architecture.space
    yield from named(STEM, space.stem, _modules(_stem_modules(space, mark)))
    for layer, chosen in zip(space.layers, architecture.choices, strict=True):
        for candidate in layer.candidates if supernet else (layer.candidate(chosen),):
            ours = f"{layer_prefix(layer)}.{candidate.label}" if supernet else layer_prefix(layer)
            block = f"{module_of(space, layer)}{mark}{candidate.label}"
            parts = {part: f"{block}.{theirs}" for part, theirs in _parts(candidate.label).items()}
            yield from named(ours, candidate.ops, _modules(parts))
    yield from named(HEAD, space.head, {**_modules({"conv": _LAST[space.name]}), "classifier": "head.fc"})


def _stem_modules(space: Space, mark: str) -> dict[str, str]:
    found = {"conv": _STEM.removesuffix(".conv.weight")}
    if fixed := FIXED.get(space.name):
        found |= {part: f"{fixed.module}{mark}{fixed.label}.{theirs}" for part, theirs in _PARTS.items()}
    return found


def _parts(label: str) -> dict[str, str]:
    if label.startswith("shuffle_"):
        return _XCEPTION_PARTS if label == "shuffle_xception" else _SHUFFLE_PARTS
    return _PARTS


def _modules(parts: Mapping[str, str]) -> dict[str, str]:
    """Our convolutions and batch norms in their words, from parts in theirs."""
    dense = {f"{part}.conv": f"{theirs}.conv" for part, theirs in parts.items()}
    return dense | {f"{part}.norm": f"{theirs}.bn" for part, theirs in parts.items()}
