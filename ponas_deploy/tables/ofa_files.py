"""Architectures as the authors of Once-for-all write them (github.com/mit-han-lab/once-for-all).

    {"ks": [7, 5, ...], "e": [6, 4, ...], "d": [4, 2, ...], "r": [224]}       settings of their supernet
    {"name": "MobileNetV3", "blocks": [{"mobile_inverted_conv": {...}, "shortcut": null}, ...]}   `net.config`

Settings hold a kernel size and an expansion ratio a layer and a depth a stage; those of a layer that is left
out mean nothing. A `net.config` holds the blocks that there are. Both are told by what they hold, and may
be of any space that has stages.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeAlias

from ponas_deploy.errors import ArchitectureError, FileFormatError
from ponas_deploy.files.bounds import Resolution
from ponas_deploy.files.documents import converted
from ponas_deploy.files.kinds import NETWORK_OF_OFA, other_document
from searchspace import SPACES, build_space
from searchspace.ops import Op, SqueezeExcite, convolutions, walk
from searchspace.space import Layer, Space

Document: TypeAlias = Mapping[str, Any]
_BLOCKS = "blocks"
_ACTIVATIONS = {"relu": "relu", "relu6": "relu6", "hswish": "h_swish"}
"""Our words for activations, and theirs."""


@dataclass(frozen=True, slots=True)
class _Settings:
    """Kernel sizes and expansion ratios by layer, depths by stage, the resolution in pixels."""

    ks: tuple[int, ...]
    e: tuple[int, ...]
    d: tuple[int, ...]
    r: tuple[Resolution, ...] | Resolution = ()


@dataclass(frozen=True, slots=True)
class _Convolution:
    """Their `MBInvertedConvLayer`; `mid_channels` is None where it follows from the ratio."""

    in_channels: int
    out_channels: int
    kernel_size: int
    stride: int
    expand_ratio: float
    act_func: str
    use_se: bool
    mid_channels: int | None = None


@dataclass(frozen=True, slots=True)
class _Block:
    """A block: its convolution under either key, and its shortcut, None at the start of a stage."""

    mobile_inverted_conv: _Convolution | None = None
    conv: _Convolution | None = None
    shortcut: Any = None


def is_authors(document: Document) -> bool:
    """Whether a JSON object is one of the authors': settings, or a `net.config`."""
    return other_document(document) is NETWORK_OF_OFA


def authors_space(document: Document, path: Path) -> str:
    """The space whose blocks a `net.config` has.

    ArchitectureError for settings, which say no width, and for blocks of no space known here.
    """
    spaces = [space for name in SPACES if (space := build_space(name)).stages]
    if _BLOCKS not in document:
        names = " or ".join(f"--space {space.name}" for space in spaces)
        raise ArchitectureError(
            f"{path} holds settings of Once-for-all, which say no width: name the space, {names}."
        )
    faults = []
    for space in spaces:
        try:
            authors_labels(document, path, space)
        except FileFormatError as error:
            faults.append(str(error))
        else:
            return space.name
    raise ArchitectureError(f"{path} is of no space that is known here: {faults[0]}")


def authors_resolution(document: Document, path: Path) -> int | None:
    """The resolution in pixels that settings name; None where they name none."""
    if _BLOCKS in document:
        return None
    given = converted(dict(document), _Settings, path).r
    sizes = (given,) if isinstance(given, int) else given
    if len(sizes) > 1:
        raise FileFormatError(path, "r", f"names {len(sizes)} resolutions, expected one.")
    return sizes[0] if sizes else None


def authors_labels(document: Document, path: Path, space: Space) -> tuple[str, ...]:
    """One label a layer of a space; FileFormatError names what of the file does not fit the space."""
    if not space.stages:
        reason = f"is a network of once-for-all, and space '{space.name}' has no stages: name one of its own."
        raise FileFormatError(path, "", reason)
    if _BLOCKS in document:
        blocks = converted(document[_BLOCKS], tuple[_Block, ...], path, _BLOCKS)
        return tuple(_of_blocks(blocks, path, space))
    settings = converted(dict(document), _Settings, path)
    for key, values, wanted in (
        ("ks", settings.ks, len(space.layers)),
        ("e", settings.e, len(space.layers)),
        ("d", settings.d, len(space.stages)),
    ):
        if len(values) != wanted:
            raise FileFormatError(path, key, f"has {len(values)} entries, and space '{space.name}' {wanted}.")
    return tuple(_of_settings(settings, path, space))


def _of_settings(settings: _Settings, path: Path, space: Space) -> Iterator[str]:
    for stage, (layers, depth) in enumerate(zip(_stages(space), settings.d, strict=True)):
        if not 0 <= depth <= len(layers):
            raise FileFormatError(path, f"d[{stage}]", f"is {depth}, and the stage has {len(layers)} layers.")
        for place, (number, layer) in enumerate(layers):
            if place < depth:
                yield _checked(f"k{settings.ks[number]}e{settings.e[number]}", layer, path, f"ks[{number}]")
            else:
                yield _left_out(layer, path, f"d[{stage}]")


def _of_blocks(blocks: Sequence[_Block], path: Path, space: Space) -> Iterator[str]:
    """The first block belongs to the stem; each later one without a shortcut starts a stage."""
    starts = [number for number, block in enumerate(blocks) if number and block.shortcut is None]
    if len(starts) != len(space.stages) or starts[:1] != [1]:
        found = f"has {len(starts)} stages (blocks without a shortcut, the second one the first of them)"
        raise FileFormatError(path, _BLOCKS, f"{found}, and space '{space.name}' {len(space.stages)}.")
    for layers, start, end in zip(_stages(space), starts, [*starts[1:], len(blocks)], strict=True):
        if end - start > len(layers):
            where = f"{_BLOCKS}[{start}]"
            raise FileFormatError(
                path, where, f"starts a stage of {end - start} blocks, expected {len(layers)}."
            )
        for place, (_, layer) in enumerate(layers):
            if start + place < end:
                yield _of_block(blocks[start + place], layer, path, f"{_BLOCKS}[{start + place}]")
            else:
                yield _left_out(layer, path, f"{_BLOCKS}[{start}]")


def _of_block(block: _Block, layer: Layer, path: Path, where: str) -> str:
    found = block.mobile_inverted_conv or block.conv
    if found is None:
        raise FileFormatError(path, f"{where}.mobile_inverted_conv", "is missing.")
    label = _checked(f"k{found.kernel_size}e{found.expand_ratio:g}", layer, path, where)
    given = asdict(found)
    for key, wanted in _as_theirs(layer.candidate(label).ops).items():
        value = given[key]
        if value is not None and value != wanted:
            reason = f"is {value}, and that of '{label}' in layer '{layer.name}' is {wanted}."
            raise FileFormatError(path, f"{where}.{key}", reason)
    return label


def _as_theirs(ops: tuple[Op, ...]) -> dict[str, int | str | bool]:
    """What their `net.config` says of a block."""
    first, *_, last = convolutions(ops)
    depthwise = next(conv for conv in convolutions(ops) if conv.groups > 1)
    return {
        "in_channels": first.in_channels,
        "out_channels": last.out_channels,
        "mid_channels": depthwise.out_channels,
        "stride": depthwise.stride,
        "act_func": _ACTIVATIONS[str(depthwise.activation)],
        "use_se": any(isinstance(op, SqueezeExcite) for op in walk(ops)),
    }


def _stages(space: Space) -> Iterator[tuple[tuple[int, Layer], ...]]:
    """The layers of each stage with their numbers."""
    numbered, start = tuple(enumerate(space.layers)), 0
    for size in space.stages:
        yield numbered[start : start + size]
        start += size


def _checked(label: str, layer: Layer, path: Path, where: str) -> str:
    if label not in layer.labels:
        known = ", ".join(layer.labels)
        raise FileFormatError(path, where, f"makes layer '{layer.name}' '{label}': known are {known}.")
    return label


def _left_out(layer: Layer, path: Path, where: str) -> str:
    if layer.absent is None:
        raise FileFormatError(path, where, f"leaves out layer '{layer.name}', which is never absent.")
    return layer.candidates[layer.absent].label
