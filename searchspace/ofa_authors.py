"""The layouts of Once-for-all's checkpoints on MobileNetV3: recognised, checked and put in ours.

Source: the code that writes them (github.com/mit-han-lab/once-for-all @f03b267); the files themselves could
not be had when this was written. A supernet, 475 tensors:

    first_conv.{conv,bn}                            stem.conv
    blocks.0.M.{depth_conv,point_linear}            stem.{depthwise,project}
    blocks.<n>.M.<part>                             layers.L<n-1>.<part>          n from 1 to 20
      inverted_bottleneck.{conv.conv,bn.bn}           expand
      depth_conv.{conv.conv,bn.bn,se.fc.*}            depthwise, se.*
      depth_conv.conv.{7to5,5to3}_matrix              what smaller kernels are made with
      point_linear.{conv.conv,bn.bn}                  project
    final_expand_layer.{conv,bn}                    head.conv
    feature_mix_layer.conv                          head.features
    classifier.linear                               head.classifier

M is `mobile_inverted_conv`, or `conv` in files of newer code. A specialised network (`init`) has the same
names without the doubled `conv.conv` and `bn.bn` and without matrices, and its blocks are numbered through:
layers that are left out do not count.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from typing import Any

from searchspace.architecture import Architecture, layer_prefix
from searchspace.authors import (
    AuthorsNetwork,
    Shape,
    by_our_names,
    check_tensors,
    classes_in,
    few,
    plain_tensors,
    prefixes,
)
from searchspace.elastic import ELASTIC, largest_network, matrix_name, with_smaller_kernels
from searchspace.errors import WeightsError
from searchspace.ops import Op, parameters
from searchspace.space import HEAD, STEM, Layer, Space
from searchspace.spaces import SPACES, build_space
from searchspace.weights import Tensor

_LAYOUT = "Once-for-all's layout on MobileNetV3"
_STEM = "first_conv.conv.weight"
_CLASSIFIER = ("classifier.linear.weight", "classifier.linear.bias")
"""Either tells how many classes there are: one of them may be what a file lacks."""
_LANDMARKS = (_STEM, _CLASSIFIER[0], "input_stem.0.conv.conv.weight")
"""The last one is of `ofa_resnet50`, which is told what it is."""
_KEYS = ("mobile_inverted_conv", "conv")
_PARTS = {"expand": "inverted_bottleneck", "depthwise": "depth_conv", "project": "point_linear"}
_WHOLE = {
    (STEM, "conv"): "first_conv",
    (HEAD, "conv"): "final_expand_layer",
    (HEAD, "features"): "feature_mix_layer.conv",
    (HEAD, "classifier"): "classifier.linear",
}
_MATRICES = {5: "7to5_matrix", 3: "5to3_matrix"}
"""From the larger kernel to one of so many pixels; the order in which they are made."""


def is_ofa_layout(names: Iterable[str]) -> bool:
    """Whether tensors of these names are Once-for-all's, of whichever family, whatever stands before them."""
    return bool(prefixes(names, _LANDMARKS))


def ofa_network(file: str, tensors: Mapping[str, Tensor]) -> AuthorsNetwork[Tensor]:
    """Tensors in Once-for-all's layout as a supernet of ours, or as the network that their shapes tell.

    Nothing is copied; `finished` makes the smaller kernels of a supernet.
    Raises WeightsError, beginning with `file`, that names another family or width, or the missing, extra and
    wrongly shaped tensors.
    """
    prefix, averaged, found = plain_tensors(file, tensors, _LANDMARKS)
    shapes = {name: tuple(tensor.shape) for name, tensor in found.items()}
    space = _space(file, shapes)
    key = next((one for one in _KEYS if f"blocks.0.{one}.depth_conv.conv.weight" in shapes), _KEYS[0])
    supernet = any(name.endswith("_matrix") or ".conv.conv." in name for name in shapes)
    architecture = largest_network(space) if supernet else _specialised(file, space, shapes, key)
    wanted = dict(_keys(architecture, key, supernet))
    closest = f"the supernet of space '{space.name}'" if supernet else f"the network {architecture.text}"
    check_tensors(file, closest, {name: shape for name, (shape, _) in wanted.items()}, found, _LAYOUT)
    ours, theirs = by_our_names(wanted, found, prefix)
    return AuthorsNetwork(architecture, ours, theirs, prefix, averaged, ELASTIC if supernet else "network")


def finished(network: AuthorsNetwork[Any], arrays: Mapping[str, Any]) -> dict[str, Any]:
    """The tensors of `ofa_network`, as arrays, in the shapes and with the kernels of ours."""
    found = {}
    for prefix, ops in network.architecture.parts():
        for parameter in parameters(ops, prefix):
            found[parameter.name] = arrays[parameter.name].reshape(parameter.shape)
    if network.layout != ELASTIC:
        return found
    space = network.architecture.space
    matrices = {
        name: arrays[name] for layer in space.layers for name in map(partial(_matrix, layer), _MATRICES)
    }
    return with_smaller_kernels({**found, **matrices}, space)


def _space(file: str, shapes: Mapping[str, Shape]) -> Space:
    """The space whose stem the file has, with as many classes."""
    if _STEM not in shapes:
        raise WeightsError(
            f"{file} is of another family of Once-for-all (ofa_resnet50, or not whole): networks on"
            f" MobileNetV3 have '{_STEM}', known are {_known()}."
        )
    if not any(name.startswith("final_expand_layer.") for name in shapes):
        raise WeightsError(
            f"{file} is of another family of Once-for-all (ofa_proxyless, or not whole): networks on"
            f" MobileNetV3 have 'final_expand_layer.conv.weight', known are {_known()}."
        )
    classes = classes_in(shapes, _CLASSIFIER)
    spaces = [build_space(name, 224, classes) for name in _spaces()]
    channels = {_stem_channels(space): space for space in spaces}
    found = next(iter(shapes[_STEM]), 0)
    if found not in channels:
        known = ", ".join(f"{wide} ({space.name})" for wide, space in channels.items())
        raise WeightsError(f"{file} is of another width: its stem has {found} channels, known are {known}.")
    return channels[found]


def _spaces() -> list[str]:
    return [name for name in SPACES if name.startswith("ofa-mbv3")]


def _known() -> str:
    return " and ".join(_spaces())


def _stem_channels(space: Space) -> int:
    return next(parameters(space.stem, STEM)).shape[0]


def _specialised(file: str, space: Space, shapes: Mapping[str, Shape], key: str) -> Architecture:
    """The network whose blocks, numbered through, have these shapes; WeightsError names a block of none."""
    blocks, labels, number = _blocks(shapes), list[str](), 1
    for layer in space.layers:
        label = _label_of(layer, number, key, shapes) if number in blocks else ""
        if not label and layer.absent is not None:
            label = layer.candidates[layer.absent].label
        elif not label:
            has = few([f"{name} {shape}" for name, shape in shapes.items() if _inside(name, number)])
            raise WeightsError(
                f"{file}: block {number} ({has or 'missing'}) is no candidate of layer '{layer.name}' of"
                f" space '{space.name}': known are {', '.join(layer.labels)}."
            )
        else:
            number += 1
        labels.append(label)
    return Architecture(space, tuple(labels))


def _blocks(shapes: Mapping[str, Shape]) -> set[int]:
    numbers = (name.split(".")[1] for name in shapes if name.startswith("blocks."))
    return {int(number) for number in numbers if number.isdecimal() and len(number) < 5}


def _inside(name: str, number: int) -> bool:
    return name.startswith(f"blocks.{number}.")


def _label_of(layer: Layer, number: int, key: str, shapes: Mapping[str, Shape]) -> str:
    """The candidate whose convolutions a block has; empty where none fits.

    The first layer of a stage and the others differ in their input channels, stages in those of the output.
    """
    for candidate in layer.candidates:
        wanted = [
            (name, shape)
            for name, (shape, ours) in _block_keys(layer_prefix(layer), candidate.ops, number, key, False)
            if ours.endswith(".conv.weight")
        ]
        if wanted and all(shapes.get(name) == shape for name, shape in wanted):
            return candidate.label
    return ""


def _keys(architecture: Architecture, key: str, supernet: bool) -> Iterator[tuple[str, tuple[Shape, str]]]:
    """Every name of theirs: its shape, and our name (empty where it is not used)."""
    number = 1
    parts = dict(architecture.parts())
    yield from _whole_keys(STEM, parts[STEM], key)
    for layer in architecture.space.layers:
        ops = parts[layer_prefix(layer)]
        if not ops:
            continue
        yield from _block_keys(layer_prefix(layer), ops, number, key, supernet)
        if supernet:
            for size, matrix in _MATRICES.items():
                name = f"blocks.{number}.{key}.depth_conv.conv.{matrix}"
                yield name, ((size * size, size * size), _matrix(layer, size))
        number += 1
    yield from _whole_keys(HEAD, parts[HEAD], key)


def _whole_keys(prefix: str, ops: tuple[Op, ...], key: str) -> Iterator[tuple[str, tuple[Shape, str]]]:
    """Of the stem, whose block is the first one and never elastic, and of the head."""
    for name, (shape, ours) in _block_keys(prefix, ops, 0, key, False):
        # They mix features by a 1x1 convolution behind the pool, which is a linear layer of ours.
        mixed = name == "feature_mix_layer.conv.weight"
        yield name, ((*shape, 1, 1) if mixed else shape, ours)


def _block_keys(
    prefix: str, ops: tuple[Op, ...], number: int, key: str, supernet: bool
) -> Iterator[tuple[str, tuple[Shape, str]]]:
    for parameter in parameters(ops, prefix):
        place, _, role = parameter.name[len(prefix) + 1 :].rpartition(".")
        module = _module(prefix, place, f"blocks.{number}.{key}", supernet)
        yield f"{module}.{role}", (parameter.shape, parameter.name)
        if parameter.role == "norm_var":
            yield f"{module}.num_batches_tracked", ((), "")


def _module(prefix: str, place: str, block: str, supernet: bool) -> str:
    """Our module `place` below `prefix` ("expand.norm", "se.reduce") in their words."""
    part, _, kind = place.partition(".")
    if part == "se":
        return f"{block}.depth_conv.se.fc.{kind}"
    inside = {"conv": "conv", "norm": "bn"}.get(kind, "")
    if (prefix, part) in _WHOLE:
        return ".".join(filter(None, (_WHOLE[prefix, part], inside)))
    doubled = f"{inside}.{inside}" if supernet else inside
    return f"{block}.{_PARTS[part]}.{doubled}"


def _matrix(layer: Layer, size: int) -> str:
    return matrix_name(f"{layer_prefix(layer)}.depthwise.conv.weight", size)
