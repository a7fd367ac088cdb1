"""The search space of Once-for-all on MobileNetV3 (arXiv 1908.09791), at two widths.

As github.com/mit-han-lab/once-for-all @f03b267 builds it: five stages of four layers, of which the third and
fourth may be left out, from the end of the stage. One supernet serves all resolutions, multiples of 4 pixels.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

from searchspace.blocks import inverted_bottleneck, rounded_to_8
from searchspace.errors import SpaceError
from searchspace.ops import Activation, Conv, GlobalPool, Linear, Op, SqueezeExcite
from searchspace.space import Candidate, Layer, Space

ABSENT = "absent"
"""The label of a layer that is left out."""

_STRIDES = (2, 2, 2, 1, 2)
_ACTIVATIONS: tuple[Activation, ...] = ("relu", "relu", "hswish", "hswish", "hswish")
_SQUEEZED = (False, True, False, True, True)
_KERNELS, _EXPANSIONS = (3, 5, 7), (3, 4, 6)
_DEEPEST, _SHALLOWEST = 4, 2
STEP_PX = 4
TRAINED_PX = range(128, 225, STEP_PX)
"""Resolutions that the authors' supernet of width 1.0 was trained at."""
TRAINED_PX_W12 = range(160, 225, STEP_PX)


@dataclass(frozen=True, slots=True)
class _Widths:
    """Channels of the stem, the five stages, and the two wide layers of the head."""

    stem: int
    stages: tuple[int, ...]
    last: int
    features: int


_WIDTH_1_0 = _Widths(16, (24, 40, 80, 112, 160), 960, 1280)
_WIDTH_1_2 = _Widths(24, (32, 48, 96, 136, 192), 1152, 1536)


def ofa_mbv3(resolution: int = 224, classes: int = 1000) -> Space:
    """Width 1.0: 20 layers, `L0` to `L19`, of kernel {3, 5, 7} x expansion {3, 4, 6}, written `k5e4`.

    The third and fourth layer of a stage may be `absent`, the third only together with the fourth.
    SpaceError for a resolution that is no multiple of 4.
    """
    return _space("ofa-mbv3", _WIDTH_1_0, resolution, classes)


def ofa_mbv3_w12(resolution: int = 224, classes: int = 1000) -> Space:
    """The same at width 1.2. SpaceError for a resolution that is no multiple of 4."""
    return _space("ofa-mbv3-w1.2", _WIDTH_1_2, resolution, classes)


def _space(name: str, widths: _Widths, resolution: int, classes: int) -> Space:
    if resolution % STEP_PX:
        below = resolution - resolution % STEP_PX
        near = f"{below} or {below + STEP_PX}" if below else str(STEP_PX)
        raise SpaceError(
            f"space '{name}' at {resolution} px: it is made for multiples of {STEP_PX} pixels, take {near}."
        )
    stem = (
        Conv("conv", 3, widths.stem, kernel=3, stride=2, activation="hswish"),
        *inverted_bottleneck(widths.stem, widths.stem, 1, 3, widths.stem, None, "relu"),
    )
    head = (
        Conv("conv", widths.stages[-1], widths.last, activation="hswish"),
        GlobalPool(),
        Linear("features", widths.last, widths.features, bias=False, activation="hswish"),
        Linear("classifier", widths.features, classes),
    )
    layers: list[Layer] = []
    for stage, depth in product(range(len(widths.stages)), range(_DEEPEST)):
        inputs = (widths.stem, *widths.stages)[stage + (depth > 0)]
        candidates = _candidates(stage, inputs, widths.stages[stage], 1 if depth else _STRIDES[stage])
        left_out = (Candidate(ABSENT, ()),) if depth >= _SHALLOWEST else ()
        layers.append(Layer(f"L{len(layers)}", (*candidates, *left_out)))
    depths = (_DEEPEST,) * len(widths.stages)
    return Space(name, stem, tuple(layers), head, resolution, classes, stages=depths)


def _candidates(stage: int, inputs: int, outputs: int, stride: int) -> tuple[Candidate, ...]:
    found = []
    for expansion, kernel in product(_EXPANSIONS, _KERNELS):
        width = rounded_to_8(inputs * expansion)
        squeeze = SqueezeExcite("se", width, rounded_to_8(width // 4), "hard_sigmoid")
        ops: tuple[Op, ...] = inverted_bottleneck(
            inputs, outputs, stride, kernel, width, squeeze if _SQUEEZED[stage] else None, _ACTIVATIONS[stage]
        )
        found.append(Candidate(f"k{kernel}e{expansion}", ops))
    return tuple(found)
