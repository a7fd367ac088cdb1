"""What an operation takes on a device that nobody measured: launch, arithmetic and memory, three terms.

    latency = launch + FLOPs / (peak x efficiency of its kind) + bytes / (bandwidth x its efficiency)

The roofline model (Williams, Waterman and Patterson, CACM 52, 2009) takes the larger of the last two. At
batch 1 small operations are far below both roofs, and wait for the one and for the other: here they add up.
Pure: operations and figures in, milliseconds out.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod
from typing import Literal, TypeAlias, get_args

from ponas_deploy.errors import UnknownNameError
from ponas_deploy.fitting.board_figures import BoardFigures, Efficiencies
from searchspace.ops import (
    Branches,
    Conv,
    Dropout,
    GlobalPool,
    Linear,
    Op,
    Residual,
    Shape,
    Shuffle,
    SqueezeExcite,
    assert_never,
    inner_shape,
    output_shape,
)

Kind: TypeAlias = Literal["dense", "pointwise", "depthwise", "squeeze_excite", "head"]
KINDS: tuple[Kind, ...] = get_args(Kind)
BYTES = {"fp32": 4, "fp16": 2, "bf16": 2, "int8": 1}
"""What a value takes in memory."""
_GATE_LAUNCHES = 4
"""Squeeze-and-excite is a pool, two small products and a multiplication."""


@dataclass(frozen=True, slots=True)
class Work:
    """What an operation does on one image: launches, FLOPs (two a multiply-accumulate), values moved.

    `activations` are read and written for each image of a batch, `weights` are read once. What only moves
    values has no FLOPs, and its kind does not matter.
    """

    kind: Kind
    launches: int
    flops: int
    activations: int
    weights: int = 0


def works_of(ops: tuple[Op, ...], shape: Shape) -> Iterator[Work]:
    """The work of operations on an input shape, activations and batch norm folded into the convolutions."""
    for op in ops:
        after = output_shape((op,), shape)
        yield from _works(op, shape, after)
        shape = after


def _works(op: Op, shape: Shape, after: Shape) -> Iterator[Work]:
    before, behind = prod(shape), prod(after)
    if isinstance(op, Conv):
        weights = op.out_channels * op.in_channels // op.groups * op.kernel**2
        flops = 2 * behind * op.in_channels // op.groups * op.kernel**2
        yield Work(_kind(op), 1, flops, before + behind, weights + op.out_channels)
    elif isinstance(op, SqueezeExcite):
        products = op.channels * op.hidden
        yield Work("squeeze_excite", _GATE_LAUNCHES, 4 * products + 2 * before, 3 * before, 2 * products)
    elif isinstance(op, Residual):
        yield from works_of(op.body, shape)
        yield Work("dense", 0, 0, before)  # added where the last convolution writes
    elif isinstance(op, Branches):
        for row in op.rows:
            yield from works_of(row, inner_shape(op, shape))
        yield Work("dense", 1, 0, 2 * behind)
    elif isinstance(op, Shuffle):
        yield Work("dense", 1, 0, 2 * before)
    elif isinstance(op, GlobalPool):
        yield Work("head", 1, before, before)
    elif isinstance(op, Linear):
        products = op.in_features * op.out_features
        yield Work("head", 1, 2 * products, op.in_features + op.out_features, products)
    elif not isinstance(op, Dropout):
        assert_never(op)


def _kind(op: Conv) -> Kind:
    if op.groups == op.in_channels > 1:
        return "depthwise"
    return "pointwise" if op.kernel == 1 else "dense"


def terms_ms(
    works: Sequence[Work], figures: BoardFigures, precision: str, threads: int = 1, batch: int = 1
) -> tuple[float, ...]:
    """The terms in milliseconds at the full figures: a kilocycle a launch, FLOPs by `KINDS`, bytes.

    UnknownNameError for a precision that the figures have no peak of.
    """
    peak = figures.peak_tflops(precision, threads) * 1e9  # FLOPs a millisecond
    if precision not in BYTES:
        raise UnknownNameError("precision", precision, BYTES)
    launch_ms = sum(work.launches for work in works) / (figures.clock_ghz * 1e3)
    flops_ms = (batch * sum(work.flops for work in works if work.kind == kind) / peak for kind in KINDS)
    moved = BYTES[precision] * sum(batch * work.activations + work.weights for work in works)
    return launch_ms, *flops_ms, moved / (figures.bandwidth_gbs * 1e6)


def costs_of(found: Efficiencies) -> tuple[float, ...]:
    """What each of the terms is multiplied with, in the order of `terms_ms`."""
    shares = (getattr(found, kind) for kind in KINDS)
    return found.launch_kilocycles, *(1 / share for share in shares), 1 / found.bandwidth


def estimate_ms(
    works: Sequence[Work],
    figures: BoardFigures,
    found: Efficiencies,
    precision: str,
    threads: int = 1,
    batch: int = 1,
) -> float:
    """The estimated latency of work in milliseconds; UnknownNameError as of `terms_ms`."""
    terms = terms_ms(works, figures, precision, threads, batch)
    return sum(term * cost for term, cost in zip(terms, costs_of(found), strict=True))
