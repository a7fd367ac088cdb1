"""The latency tables of once-for-all (arXiv 1908.09791) and ProxylessNAS (arXiv 1812.00332): YAML.

One entry a shape, with its latency in milliseconds as `mean`; no layers, which a space of ours gives:

    expanded_conv-input:56x56x24-output:28x28x40-expand:72-kernel:5-stride:2-idskip:0-se:1-hs:0: {mean: 0.9}

Shapes are height x width x channels, `idskip` is the residual, `hs` is h-swish. With `se` and `hs`
(MobileNetV3) `expand` is the number of expanded channels, without them (ProxylessNAS) the ratio. The rest of
a network are `Conv` (the first convolution), `Conv_1` (before the pool), `AvgPool2D`, `Conv_2` and `Logits`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from ponas_deploy.errors import FileFormatError
from ponas_deploy.files.bounds import AtLeastZero
from ponas_deploy.files.documents import converted
from ponas_deploy.files.yaml_documents import read_yaml
from ponas_deploy.tables.grid import Grid
from searchspace.ops import (
    Conv,
    GlobalPool,
    Op,
    Residual,
    Shape,
    SqueezeExcite,
    convolutions,
    count_params,
    output_shape,
    walk,
)
from searchspace.space import HEAD, STEM, Space

_PLAIN = ("relu", "relu6")


@dataclass(frozen=True, slots=True)
class Entry:
    """What is read of an entry: the mean of its runs, in milliseconds."""

    mean: AtLeastZero


@dataclass(frozen=True, slots=True)
class LackingCell:
    """A cell of a space that a file has no entry for: `key` is what it would be called there.

    An empty key is a block that no entry can describe. Of stem and head the layer is their name.
    """

    layer: str
    candidate: str
    key: str


@dataclass(frozen=True, slots=True)
class FoundCells:
    """The latencies of a space's cells in milliseconds, as far as a file has them, and what it lacks."""

    grid: Grid
    lacking: tuple[LackingCell, ...]


def read_once_for_all(path: Path, space: Space) -> FoundCells:
    """The cells of a space, each found by its shape; those without operations cost nothing.

    FileFormatError where a layer has no candidate in the file, or where the file is broken.
    """
    entries = _entries(path)
    detailed = any("-se:" in key for key in entries)
    found: list[dict[str, float]] = []
    lacking: list[LackingCell] = []
    for layer, row in zip(space.layers, space.cells(), strict=True):
        found.append({})
        for candidate, cell in zip(layer.candidates, row, strict=True):
            key = _block_key(cell.ops, cell.input_shape, detailed=detailed)
            if not cell.ops or key in entries:
                found[-1][candidate.label] = entries[key].mean if cell.ops else 0.0
            else:
                lacking.append(LackingCell(layer.name, candidate.label, key))
    _refuse_empty(path, space, found, lacking, entries)
    fixed = 0.0
    for part, key in _fixed_keys(space, detailed=detailed):
        if key in entries:
            fixed += entries[key].mean
        else:
            lacking.append(LackingCell(part, "", key))
    layers = tuple(layer.name for layer in space.layers)
    labels, values = tuple(map(tuple, found)), tuple(tuple(row.values()) for row in found)
    return FoundCells(Grid(layers, labels, values, fixed), tuple(lacking))


def _entries(path: Path) -> Mapping[str, Entry]:
    entries = converted(read_yaml(path), dict[str, Entry], path)
    if not any(key.startswith("expanded_conv-input:") for key in entries):
        reason = "is YAML without an entry 'expanded_conv-input:...': it is no latency table of once-for-all."
        raise FileFormatError(path, "", reason)
    return entries


def _refuse_empty(
    path: Path,
    space: Space,
    found: list[dict[str, float]],
    lacking: list[LackingCell],
    entries: Mapping[str, Entry],
) -> None:
    """FileFormatError where a layer of the space has no timed candidate in a file."""
    timed = {
        layer.name
        for layer, row in zip(space.layers, found, strict=True)
        if any(candidate.ops and candidate.label in row for candidate in layer.candidates)
    }
    if len(timed) == len(space.layers):
        return
    without = [layer.name for layer in space.layers if layer.name not in timed]
    which = "no layer" if not timed else f"not layers {', '.join(without)}"
    first = next(cell for cell in lacking if cell.layer == without[0])
    sides = sorted({int(side) for key in entries for side in re.findall(r"^Conv-input:(\d{1,5})x", key)})
    holds = f" It holds inputs of {', '.join(map(str, sides))} px (--resolution)." if sides else ""
    needs = f"layer {first.layer} needs '{first.key}'" if first.key else "its blocks have no entry there"
    raise FileFormatError(
        path,
        "",
        f"has {which} of space '{space.name}' at {space.resolution} px: {needs}.{holds} Name the space that"
        " the table was made for with --space.",
    )


def _block_key(ops: tuple[Op, ...], shape: Shape, *, detailed: bool) -> str:
    """What an inverted bottleneck on an input shape is called; empty for what no entry can describe."""
    if not all(isinstance(op, (Conv, Residual, SqueezeExcite)) for op in walk(ops)):
        return ""
    wide = [conv for conv in convolutions(ops) if conv.groups > 1]
    if len(wide) != 1 or any(conv.kernel > 1 for conv in convolutions(ops) if conv is not wide[0]):
        return ""
    depthwise = wide[0]
    excited = any(isinstance(op, SqueezeExcite) for op in walk(ops))
    swish = depthwise.activation not in _PLAIN
    width, ratio = depthwise.in_channels, depthwise.in_channels / shape[0]
    if not detailed and (excited or swish or ratio % 1):
        return ""
    expand = width if detailed else int(ratio)
    skip = any(isinstance(op, Residual) for op in ops)
    key = (
        f"expanded_conv-input:{_size(shape)}-output:{_size(output_shape(ops, shape))}-expand:{expand}"
        f"-kernel:{depthwise.kernel}-stride:{depthwise.stride}-idskip:{skip:d}"
    )
    return f"{key}-se:{excited:d}-hs:{swish:d}" if detailed else key


def _fixed_keys(space: Space, *, detailed: bool) -> Iterator[tuple[str, str]]:
    """What stem and head of a space are called, part by part."""
    first, *block = space.stem
    shape = output_shape((first,), space.input_shape)
    yield STEM, f"Conv-input:{_size(space.input_shape)}-output:{_size(shape)}"
    if block:
        yield STEM, _block_key(tuple(block), shape, detailed=detailed)
    last = [op for op in space.head if count_params((op,))][-1]
    shape = counted = space.layer_shapes()[-1]
    number = 0
    for op in space.head:
        shape = output_shape((op,), shape)
        if op is last:
            yield HEAD, f"Logits-input:{_size(counted)}-output:{shape[0]}"
        elif count_params((op,)):
            number += 1
            yield HEAD, f"Conv_{number}-input:{_size(counted)}-output:{_size(shape)}"
            counted = shape
        elif isinstance(op, GlobalPool) and detailed:  # ProxylessNAS counts it to the logits
            yield HEAD, f"AvgPool2D-input:{_size(counted)}-output:{_size(shape)}"
            counted = shape


def _size(shape: Shape) -> str:
    channels, height, width = shape
    return f"{height}x{width}x{channels}"
