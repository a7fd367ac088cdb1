"""The layout of the PONAS authors' weights, PONAS-A, -B and -C: recognised, checked and put in ours.

Source: the model definitions that the authors published (github.com/eric8607242/PONAS,
`models/PONAS_{A,B,C}.py`). They published no weights that could be had when this was written: the reader
was tested on files of that layout with random weights, 412 tensors in A and B, 416 in C.

    first.{conv,bn}                          stem.conv
    stages.0.block.<part>                    stem.<part>
    stages.<l>.block.<part>                  layers.<l>.<part>          l from 1 to 19
      point_wise, depthwise, point_wise_1      expand, depthwise, project (conv and bn each)
      se.operation.1, se.operation.3           se.reduce, se.expand
    stages.last.0, stages.last.1             head.conv (conv, then bn)
    classifier.1                             head.classifier

The count of batches that each batch norm keeps there is not needed, and may be missing. What a wrapper of the
module put before every name (`module.`, `_orig_mod.`, `model.`, anything) is left out.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Generic, Literal

from searchspace.architecture import Architecture, layer_prefix
from searchspace.errors import WeightsError
from searchspace.ops import Op, parameters
from searchspace.space import Candidate, Layer
from searchspace.spaces import build_space
from searchspace.weights import Shaped, Tensor

SPACE, RESOLUTION = "ponas", 224

_PARTS = {
    "expand": "point_wise",
    "depthwise": "depthwise",
    "project": "point_wise_1",
    "se.reduce": "se.operation.1",
    "se.expand": "se.operation.3",
}
_CLASSIFIER = ("classifier.1.weight", "classifier.1.bias")
"""Either tells how many classes there are: one of them may be what a file lacks."""
_LANDMARKS = ("first.conv.weight", _CLASSIFIER[0], "stages.last.0.weight")
_LAYOUT = "the PONAS authors' layout"
_NETWORKS_AVERAGED = "n_averaged"
"""What torch's AveragedModel keeps beside the network."""
_AVERAGED = re.compile(r"(?i)(^|[._])(ema|averaged|shadow)([._]|$)")
_SHOWN, _LONGEST_NAME = 3, 120

Shape = tuple[int, ...]
Layout = Literal["network", "supernet", "elastic supernet"]
Named = tuple[str, tuple[Shape, str]]
"""A name of theirs, its shape, and our name of it (empty where it is not used)."""


@dataclass(frozen=True, slots=True)
class AuthorsNetwork(Generic[Tensor]):
    """A network that was in the authors' layout: its tensors by our names, and their names by ours.

    `prefix` stood before all of theirs, `averaged` before those of networks that were left out. `layout` is
    that of our names: of a supernet all that matters of `architecture` is its space. `fill` are the shapes
    and the values of tensors that the layout has not, and we have.
    """

    architecture: Architecture
    tensors: dict[str, Tensor]
    theirs: dict[str, str]
    prefix: str
    averaged: tuple[str, ...]
    layout: Layout = "network"
    fill: Mapping[str, tuple[Shape, float]] = field(default_factory=dict)

    @property
    def remark(self) -> str:
        """What was left out, for people; empty where nothing was."""
        remarks = []
        if self.prefix:
            remarks.append(f"{few([repr(self.prefix)])} before every name was left out")
        if self.averaged:
            averaged = few([repr(prefix) for prefix in self.averaged])
            remarks.append(
                f"averaged weights (EMA), under {averaged}, were left out: the plain ones were taken"
            )
        return "; ".join(remarks)

    @property
    def name(self) -> str:
        """PONAS-A, -B or -C; empty for another network of the space."""
        return _published(self.architecture)


def is_authors_layout(names: Iterable[str]) -> bool:
    """Whether tensors of these names are in the authors' layout, whatever stands before all of them."""
    return bool(prefixes(names, _LANDMARKS))


def authors_network(file: str, tensors: Mapping[str, Tensor]) -> AuthorsNetwork[Tensor]:
    """Tensors in the authors' layout as a network of ours; which one it is, is read from their shapes.

    Nothing is copied. Averaged weights (EMA) beside plain ones are left out. Raises WeightsError, beginning
    with `file`, that names the missing, extra and wrongly shaped tensors against the network that comes
    closest, or the several networks that are there.
    """
    prefix, averaged, found = plain_tensors(file, tensors, _LANDMARKS)
    architecture = recognised({name: tuple(tensor.shape) for name, tensor in found.items()})
    wanted = dict(keys(architecture))
    closest = f"the network closest to it ({_published(architecture) or architecture.text})"
    shapes = {name: shape for name, (shape, _) in wanted.items()}
    check_tensors(file, closest, shapes, found, _LAYOUT)
    return AuthorsNetwork(architecture, *by_our_names(wanted, found, prefix), prefix, averaged)


def keys(architecture: Architecture) -> Iterator[tuple[str, tuple[Shape, str]]]:
    """Every name that the authors' model of a network has: its shape, and our name ("" where unused)."""
    for prefix, ops in architecture.parts():
        yield from _keys(prefix, ops)


def _keys(prefix: str, ops: tuple[Op, ...]) -> Iterator[tuple[str, tuple[Shape, str]]]:
    for parameter in parameters(ops, prefix):
        part, _, role = parameter.name[len(prefix) + 1 :].rpartition(".")
        key = f"{_module(prefix, part)}.{role}"
        yield key, (parameter.shape, parameter.name)
        if parameter.role == "norm_var":
            yield key.replace("running_var", "num_batches_tracked"), ((), "")


def _module(prefix: str, part: str) -> str:
    """Our module `part` below `prefix` ("stem", "expand.norm") in their words."""
    place, _, kind = part.rpartition(".") if part.endswith((".conv", ".norm")) else (part, "", "")
    if prefix == "head":
        return {"conv": "stages.last.0", "norm": "stages.last.1"}.get(kind, "classifier.1")
    inside = {"conv": ".conv", "norm": ".bn"}.get(kind, "")
    if (prefix, place) == ("stem", "conv"):
        return f"first{inside}"
    stage = "0" if prefix == "stem" else prefix.removeprefix("layers.")
    return f"stages.{stage}.block.{_PARTS[place]}{inside}"


def prefixes(names: Iterable[str], landmarks: Iterable[str]) -> list[str]:
    """What stands before the names of each network of a layout; empty where there is none.

    Every network of the layout has names that end in the `landmarks`.
    """
    names = tuple(names)
    for landmark in landmarks:
        found = {name.removesuffix(landmark) for name in names if name.endswith(landmark)}
        if found:
            return sorted(found)
    return []


def plain_tensors(
    file: str, tensors: Mapping[str, Tensor], landmarks: tuple[str, ...]
) -> tuple[str, tuple[str, ...], dict[str, Tensor]]:
    """The prefix of the network to read, those of averaged ones (EMA) beside it, and its tensors without it.

    WeightsError names the several networks that are there, or says that there is none.
    """
    found = prefixes(tensors, landmarks)
    if not found:
        raise WeightsError(
            f"{file} is in no layout that is known here, which are MMRazor's SPOS, the SPOS authors', the"
            f" PONAS authors' and Once-for-all's on MobileNetV3: it holds {few(list(tensors))}."
        )
    averaged = tuple(prefix for prefix in found if _AVERAGED.search(prefix))
    plain = [prefix for prefix in found if prefix not in averaged] or list(averaged)
    if len(plain) > 1:
        raise WeightsError(
            f"{file} holds {len(plain)} networks, under {few([repr(prefix) for prefix in plain])}: save the"
            " tensors of one of them alone."
        )
    prefix, others = plain[0], tuple(one for one in averaged if one != plain[0])
    inside = {
        name.removeprefix(prefix): tensor
        for name, tensor in tensors.items()
        if name != _NETWORKS_AVERAGED and not name.startswith(others)
    }
    return prefix, others, inside


def recognised(shapes: Mapping[str, Shape]) -> Architecture:
    """The network whose names and shapes come closest: in every layer the candidate of the fewest faults."""
    space = build_space(SPACE, RESOLUTION, classes_in(shapes, _CLASSIFIER))
    return Architecture(space, tuple(_closest(layer, shapes) for layer in space.layers))


def _closest(layer: Layer, shapes: Mapping[str, Shape]) -> str:
    prefix = layer_prefix(layer)
    return closest(layer, f"stages.{layer.name}.", shapes, lambda candidate: _keys(prefix, candidate.ops))


def closest(
    layer: Layer,
    inside: str,
    shapes: Mapping[str, Shape],
    tensors_of: Callable[[Candidate], Iterable[Named]],
) -> str:
    """The candidate with the fewest tensors that a file has not, or has in another shape.

    `inside` begins the names of all its tensors of the layer; `tensors_of` are those that a candidate has.
    """
    found = {(name, shape) for name, shape in shapes.items() if name.startswith(inside)}

    def faults(candidate: Candidate) -> int:
        return len(found ^ {(name, shape) for name, (shape, _) in tensors_of(candidate)})

    return min(layer.candidates, key=faults).label


def classes_in(shapes: Mapping[str, Shape], classifier: Iterable[str]) -> int:
    """How many classes a `classifier` has, by whichever of its tensors is there; 1000 without any."""
    return max(next((shapes[name][0] for name in classifier if shapes.get(name)), 1000), 1)


def named(prefix: str, ops: tuple[Op, ...], modules: Mapping[str, str]) -> Iterator[Named]:
    """Every tensor of `ops`, ours below `prefix`, by the name of its module in their words."""
    for parameter in parameters(ops, prefix):
        module, _, role = parameter.name.removeprefix(f"{prefix}.").rpartition(".")
        yield f"{modules[module]}.{role}", (parameter.shape, parameter.name)
        if parameter.role == "norm_var":
            yield f"{modules[module]}.num_batches_tracked", ((), "")


def by_our_names(
    wanted: Mapping[str, tuple[Shape, str]], found: Mapping[str, Tensor], prefix: str
) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors `found` by our names, and their names in the file; `wanted` has our name of each."""
    theirs = {ours: name for name, (_, ours) in wanted.items() if ours}
    tensors = {ours: found[name] for ours, name in theirs.items()}
    return tensors, {ours: prefix + name for ours, name in theirs.items()}


def check_tensors(
    file: str,
    closest: str,
    wanted: Mapping[str, Shape],
    found: Mapping[str, Shaped],
    layout: str,
) -> None:
    """WeightsError names tensors that are missing, too many, or of another shape than `wanted`, of `closest`.

    Counts of batches may be missing.
    """
    missing = [key for key in wanted if key not in found and not key.endswith("num_batches_tracked")]
    extra = [key for key in found if key not in wanted]
    wrong = [
        f"{key} {tuple(found[key].shape)} instead of {shape}"
        for key, shape in wanted.items()
        if key in found and tuple(found[key].shape) != shape
    ]
    faults = {"lacks": missing, "has too much": extra, "has wrong shapes": wrong}
    texts = [f"{what} {few(names)}" for what, names in faults.items() if names]
    if texts:
        raise WeightsError(
            f"{file} is not a checkpoint of {layout}; against {closest} it {'; it '.join(texts)}."
        )


def few(names: list[str]) -> str:
    """The first names of many, for a message."""
    shown = [name if len(name) <= _LONGEST_NAME else f"{name[:_LONGEST_NAME]}..." for name in names[:_SHOWN]]
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"{', '.join(shown)}{more}"


def _published(architecture: Architecture) -> str:
    return next((name for name, text in architecture.space.published if text == architecture.text), "")
