"""How far estimates are off: efficiencies fitted to measured devices, checked on those left out.

    python benchmarks/estimates.py            # fit, check each device by the others, print
    python benchmarks/estimates.py --write    # and write what was found into profiles/boards.json

Processors: the shipped tables of two machines, their cells alone and their whole networks. What a virtual
machine is told of its clock is not it (the EPYC's cells reach 209 GFLOPS, its 2.6 GHz allow 166): a Zen 5 at
4.1 GHz and a Cascade Lake at 2.5 GHz, 64 FLOPs a cycle, and what one core of them gets from memory, are
assumed. Other people's latencies of Pis have no part in the fit. GPUs: other people's latencies, board by
board. Batch 1.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from math import ceil, prod
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares

from ponas_deploy.files.documents import encoded
from ponas_deploy.files.records import write_json
from ponas_deploy.fitting.board_figures import (
    BOARD_FIGURES,
    FILE,
    BoardFigures,
    Efficiencies,
    board_figures,
    find_figures,
)
from ponas_deploy.fitting.rooflines import KINDS, Work, terms_ms, works_of
from ponas_deploy.tables.files import load_latency_table
from ponas_deploy.tables.store import SHIPPED
from searchspace import build_space
from searchspace.blocks import inverted_bottleneck, mbconv
from searchspace.ops import Conv, GlobalPool, Linear, Op, Shape, SqueezeExcite, output_shape

Floats = NDArray[np.float64]
IMAGE: Shape = (3, 224, 224)
RIDGE = 0.3
"""How strongly the logarithms of the costs are held to `USUAL`, for few boards say little about each."""
USUAL = {
    "processor": (8.0, 1.5, 1.5, 4.0, 4.0, 4.0, 1.5),
    "gpu": (8.0, 2.0, 4.0, 20.0, 20.0, 4.0, 1.5),
}
"""Kilocycles a launch, then one over the efficiencies, in the order of `terms_ms`."""

# Figures of devices that were measured and are no boards to ask for.
EPYC = BoardFigures("amd-epyc-2c", "", "processor", 4.1, {"fp32": 0.2624, "bf16": 0.5248}, 40.0, "assumed")
XEON = BoardFigures("intel-xeon-2c", "", "processor", 2.5, {"fp32": 0.16}, 20.0, "assumed")
XAVIER = BoardFigures(
    "agx-xavier", "", "gpu", 1.377, {"fp16": 11.3}, 136.5, "64 tensor cores x 128 x 1.377 GHz"
)
A100 = BoardFigures("a100", "", "gpu", 1.41, {"int8": 624.0}, 1555.0, "NVIDIA's data sheet")


@dataclass(frozen=True)
class Row:
    """A latency in ms that somebody measured, and the work that was done in it; `weight` of it in a fit."""

    board: BoardFigures
    what: str
    precision: str
    works: tuple[Work, ...]
    measured_ms: float
    source: str
    threads: int = 1
    weight: float = 1.0
    cell: bool = False

    @property
    def terms(self) -> tuple[float, ...]:
        return terms_ms(self.works, self.board, self.precision, self.threads)


# Networks that others measured. -----------------------------------------------------------------------------


def _head(channels: int, wide: int) -> tuple[Op, ...]:
    return Conv("head", channels, wide), GlobalPool(), Linear("classifier", wide, 1000)


def mobilenet_v2() -> tuple[Work, ...]:
    """arXiv 1801.04381, table 2."""
    return tuple(works_of((*_mobilenet_v2(), *_head(320, 1280)), IMAGE))


def ssd_mobilenet_v2() -> tuple[Work, ...]:
    """At 300 px, taken for 1.5 times its backbone: 0.8 G multiply-accumulates in all (ibid., table 6)."""
    works = works_of((*_mobilenet_v2(), Conv("head", 320, 1280)), (3, 300, 300))
    return tuple(
        replace(w, flops=w.flops * 3 // 2, activations=w.activations * 3 // 2, weights=w.weights * 3 // 2)
        for w in works
    )


def _mobilenet_v2() -> tuple[Op, ...]:
    ops: list[Op] = [Conv("conv", 3, 32, 3, 2), *mbconv(32, 16, 1, 3, 1, False)]
    channels = 16
    for expansion, out, count, stride in (
        (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1),
    ):  # fmt: skip
        for place in range(count):
            ops += mbconv(channels, out, stride if place == 0 else 1, 3, expansion, False)
            channels = out
    return tuple(ops)


def mobilenet_v3_small() -> tuple[Work, ...]:
    """arXiv 1905.02244, table 2."""
    ops: list[Op] = [Conv("conv", 3, 16, 3, 2)]
    channels = 16
    for kernel, wide, out, gated, stride in (
        (3, 16, 16, True, 2), (3, 72, 24, False, 2), (3, 88, 24, False, 1), (5, 96, 40, True, 2),
        (5, 240, 40, True, 1), (5, 240, 40, True, 1), (5, 120, 48, True, 1), (5, 144, 48, True, 1),
        (5, 288, 96, True, 2), (5, 576, 96, True, 1), (5, 576, 96, True, 1),
    ):  # fmt: skip
        gate = SqueezeExcite("se", wide, wide // 4) if gated else None
        ops += inverted_bottleneck(channels, out, stride, kernel, wide, gate, "relu6")
        channels = out
    head = (Conv("head", 96, 576), GlobalPool(), Linear("wide", 576, 1024), Linear("last", 1024, 1000))
    return tuple(works_of((*ops, *head), IMAGE))


def efficientnet_b0() -> tuple[Work, ...]:
    """arXiv 1905.11946, table 1."""
    ops: list[Op] = [Conv("conv", 3, 32, 3, 2)]
    channels = 32
    for expansion, out, count, stride, kernel in (
        (1, 16, 1, 1, 3), (6, 24, 2, 2, 3), (6, 40, 2, 2, 5), (6, 80, 3, 2, 3), (6, 112, 3, 1, 5),
        (6, 192, 4, 2, 5), (6, 320, 1, 1, 3),
    ):  # fmt: skip
        for place in range(count):
            wide, step = channels * expansion, stride if place == 0 else 1
            gate = SqueezeExcite("se", wide, channels // 4)
            ops += inverted_bottleneck(channels, out, step, kernel, wide, gate, "relu6")
            channels = out
    return tuple(works_of((*ops, *_head(320, 1280)), IMAGE))


def resnet(depth: int) -> tuple[Work, ...]:
    """arXiv 1512.03385, table 1: 18, 34 or 50 layers."""
    works, shape = list(works_of((Conv("conv", 3, 64, 7, 2),), IMAGE)), (64, 56, 56)
    works.append(Work("dense", 1, 0, 64 * 112 * 112 + prod(shape)))  # max pool
    wider = 4 if depth == 50 else 1
    for stage, count in enumerate({18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3)}[depth]):
        narrow = 64 << stage
        out = narrow * wider
        for place in range(count):
            stride = 2 if stage and not place else 1
            body = (Conv("a", shape[0], narrow, 3, stride), Conv("b", narrow, narrow, 3))
            if depth == 50:
                body = (
                    Conv("a", shape[0], narrow),
                    Conv("b", narrow, narrow, 3, stride),
                    Conv("c", narrow, out),
                )
            if stride > 1 or shape[0] != out:
                works += works_of((Conv("shortcut", shape[0], out, 1, stride),), shape)
            works += works_of(body, shape)
            shape = output_shape(body, shape)
            works.append(Work("dense", 0, 0, prod(shape)))
    return (*works, *works_of((GlobalPool(), Linear("classifier", shape[0], 1000)), shape))


def squeezenet() -> tuple[Work, ...]:
    """SqueezeNet 1.1 (arXiv 1602.07360, and its authors' repository)."""
    works, shape = list(works_of((Conv("conv", 3, 64, 3, 2),), IMAGE)), (64, 56, 56)
    works.append(Work("dense", 1, 0, 64 * 112 * 112 + prod(shape)))
    for narrow, wide, pooled in (
        (16, 64, False), (16, 64, True), (32, 128, False), (32, 128, True),
        (48, 192, False), (48, 192, False), (64, 256, False), (64, 256, False),
    ):  # fmt: skip
        works += works_of((Conv("squeeze", shape[0], narrow),), shape)
        inner = (narrow, *shape[1:])
        works += works_of((Conv("one", narrow, wide),), inner)
        works += works_of((Conv("three", narrow, wide, 3),), inner)
        shape = (2 * wide, *shape[1:])
        if pooled:
            works.append(Work("dense", 1, 0, prod(shape) * 5 // 4))
            shape = (2 * wide, shape[1] // 2, shape[2] // 2)
    return (*works, *works_of((Conv("classes", 512, 1000), GlobalPool()), shape))


def halved(works: Sequence[Work]) -> tuple[Work, ...]:
    """Channels pruned to about half the work, in as many operations."""
    return tuple(
        replace(w, flops=w.flops // 2, activations=w.activations // 2, weights=w.weights // 2) for w in works
    )


@cache
def published() -> tuple[Row, ...]:
    """Other people's latencies of networks that are made of our operations, on boards that are known."""
    nano, tx2, pi, pi_4 = map(find_figures, ("nano", "tx2", "pi-5", "pi-4"))
    orin_nano, agx_orin = find_figures("orin-nano"), find_figures("agx-orin")
    cpp = "TensorRT sample by the author of play_with_tensorrt, MAXN, jetson_clocks"
    torch2trt, tensorflow = "torch2trt's documentation", "NVIDIA, tf_to_trt_image_classification"
    netspresso, arm = "netspresso-trainer, tensorrt.md, compressed by half", "learn.arm.com, ExecuTorch"
    int8, lite = "NVIDIA, TensorFlow quantization toolkit", "aallan/benchmarking-ml-on-the-edge, TFLite"
    # How many threads the Pis used is not said, nor TFLite's precision: all four and fp32 are taken for it.
    return (
        Row(nano, "MobileNetV2", "fp16", mobilenet_v2(), 17.7, cpp),
        Row(nano, "MobileNetV2", "fp32", mobilenet_v2(), 19.5, cpp),
        Row(nano, "ResNet-18", "fp16", resnet(18), 11.4, torch2trt),
        Row(nano, "ResNet-34", "fp16", resnet(34), 20.2, torch2trt),
        Row(nano, "ResNet-50", "fp16", resnet(50), 29.8, torch2trt),
        Row(nano, "SqueezeNet 1.1", "fp16", squeezenet(), 4.3, torch2trt),
        Row(tx2, "ResNet-50", "fp16", resnet(50), 15.7, tensorflow),
        Row(tx2, "ResNet-50", "fp32", resnet(50), 27.1, tensorflow),
        Row(XAVIER, "ResNet-18", "fp16", resnet(18), 1.64, torch2trt),
        Row(XAVIER, "ResNet-50", "fp16", resnet(50), 3.37, torch2trt),
        Row(orin_nano, "MobileNetV3-S / 2", "fp16", halved(mobilenet_v3_small()), 1.34, netspresso),
        Row(orin_nano, "ResNet-50 / 2", "fp16", halved(resnet(50)), 3.24, netspresso),
        Row(agx_orin, "MobileNetV3-S / 2", "fp16", halved(mobilenet_v3_small()), 0.59, netspresso),
        Row(agx_orin, "ResNet-50 / 2", "fp16", halved(resnet(50)), 0.95, netspresso),
        Row(A100, "MobileNetV2", "int8", mobilenet_v2(), 0.30, int8),
        Row(A100, "EfficientNet-B0", "int8", efficientnet_b0(), 0.67, int8),
        Row(pi, "MobileNetV2", "fp32", mobilenet_v2(), 10.9, arm, threads=4),
        Row(pi, "MobileNetV2", "int8", mobilenet_v2(), 4.0, arm, threads=4),
        Row(pi, "SSD MobileNetV2", "fp32", ssd_mobilenet_v2(), 23.5, lite, threads=4),
        Row(pi_4, "SSD MobileNetV2", "fp32", ssd_mobilenet_v2(), 112.6, lite, threads=4),
    )


# The shipped tables. ----------------------------------------------------------------------------------------


@cache
def measured() -> tuple[Row, ...]:
    """Cells and whole networks of the shipped tables: each table counts as one cell and two networks."""
    return tuple(row for device in (EPYC, XEON) for row in _of_device(device))


def _of_device(device: BoardFigures) -> Iterator[Row]:
    space = build_space("ponas")
    *shapes, last = space.layer_shapes()
    ends = (*works_of(space.stem, space.input_shape), *works_of(space.head, last))
    works = [
        [tuple(works_of(candidate.ops, shape)) for candidate in layer.candidates]
        for layer, shape in zip(space.layers, shapes, strict=True)
    ]
    for path in sorted((SHIPPED / "latency" / device.name).glob("*-t1-b1-ponas-224px-1000c.json")):
        table = load_latency_table(path)
        assert table.conditions
        assert table.correction
        assert table.certificate
        assert table.isolated
        precision = table.conditions.precision
        networks = (*table.certificate.networks, *table.correction.networks)
        for network in networks:
            chosen = zip(works, table.grid.indices(network.choices), strict=True)
            parts = (*ends, *(work for row, index in chosen for work in row[index]))
            weight = 2 / len(networks)
            yield Row(device, path.stem, precision, parts, network.measured_ms, "shipped", weight=weight)
        cells = [
            (work, value)
            for row, values in zip(works, table.isolated.values, strict=True)
            for work, value in zip(row, values, strict=True)
        ]
        for work, value in (*cells, (ends, table.isolated.fixed)):
            weight = 1 / (len(cells) + 1)
            yield Row(device, path.stem, precision, work, value, "shipped", weight=weight, cell=True)


# Fit and check. ---------------------------------------------------------------------------------------------


def fit(rows: Sequence[Row], family: str) -> Floats:
    """The costs in the order of `terms_ms`: least squares of logarithms of ratios."""
    terms = np.array([row.terms for row in rows])
    target, weight = np.log([row.measured_ms for row in rows]), np.sqrt([row.weight for row in rows])
    usual = np.log(USUAL[family])
    # No more than the peak; a GPU may save operations (Winograd) or run beyond its clock.
    least = np.log([0.1, *[1.0 if family == "processor" else 0.5] * (len(KINDS) + 1)])

    def residuals(logs: Floats) -> Floats:
        return np.concatenate([weight * (np.log(terms @ np.exp(logs)) - target), RIDGE * (logs - usual)])

    return np.exp(least_squares(residuals, usual, bounds=(least, np.full(len(usual), 9.0))).x)


@dataclass(frozen=True)
class Checked:
    """A row, and what is estimated for it by a fit on other devices."""

    row: Row
    estimated_ms: float

    @property
    def factor(self) -> float:
        """How many times it is off, 1 or more."""
        ratio = self.estimated_ms / self.row.measured_ms
        return max(ratio, 1 / ratio)


@cache
def held_out(family: str) -> tuple[Checked, ...]:
    """Whole networks of each device, estimated by a fit on the other devices of its family."""
    rows = [row for row in (*measured(), *published()) if row.board.family == family]
    found = []
    for board in dict.fromkeys(row.board.name for row in rows):
        others = [row for row in rows if row.board.name != board and _fits(row)]
        costs = fit(others, family)
        found += [
            Checked(row, float(np.dot(row.terms, costs)))
            for row in rows
            if row.board.name == board and not row.cell
        ]
    return tuple(found)


def _fits(row: Row) -> bool:
    """Whether a row has a part in fits: of processors what was measured here alone."""
    return row.board.family == "gpu" or row.source == "shipped"


def efficiencies(family: str) -> Efficiencies:
    """The fit on all devices of a family, with how far estimates of held-out devices are off."""
    rows = [row for row in (*measured(), *published()) if row.board.family == family and _fits(row)]
    launch, *costs = fit(rows, family)
    by_table: dict[tuple[str, str, str], list[float]] = {}
    for one in held_out(family):
        key = one.row.board.name, one.row.what, one.row.precision
        by_table.setdefault(key, []).append(one.factor)
    boards = sorted({board for board, _, _ in by_table})
    return Efficiencies(
        round(float(launch), 3),
        *(round(float(1 / cost), 4) for cost in costs),
        median_factor=round(median(map(median, by_table.values())), 2),
        worst_factor=ceil(100 * max(map(max, by_table.values()))) / 100,
        checked_on=f"{len(by_table)} {_WHAT[family]} of {', '.join(boards)}, each by the others",
    )


_WHAT = {"processor": "tables and published latencies", "gpu": "published latencies"}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--write", action="store_true", help="write profiles/boards.json")
    write, found = parser.parse_args().write, {}
    for family in USUAL:
        found[family] = efficiencies(family)
        print(f"\n{family}: {found[family]}")
        print(f"{'device':14} {'network or table':46} {'precision':9} {'measured':>9} {'estimated':>9} off")
        for one in held_out(family):
            row = one.row
            print(
                f"{row.board.name:14} {row.what:46} {row.precision:9} {row.measured_ms:9.2f}"
                f" {one.estimated_ms:9.2f} x{one.estimated_ms / row.measured_ms:.2f}"
            )
    if write:
        document = encoded(replace(board_figures(), families=found))
        write_json(FILE, BOARD_FIGURES.tag, document, overwrite=True)
    print(json.dumps(encoded(found)))


if __name__ == "__main__":
    main()
