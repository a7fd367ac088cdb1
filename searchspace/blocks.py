"""Candidate blocks, written as operations."""

from __future__ import annotations

from searchspace.ops import Activation, Conv, Op, Residual, Shuffle, SqueezeExcite


def mbconv(
    in_channels: int,
    out_channels: int,
    stride: int,
    kernel: int,
    expansion: int,
    squeeze_excite: bool,
    activation: Activation = "relu6",
) -> tuple[Op, ...]:
    """The mobile inverted bottleneck of MobileNetV2 (arXiv 1801.04381), as PONAS uses it (section 3.1).

    Squeeze-and-excite has a bottleneck of max(width // 4, 8) on the expanded width.
    """
    width = in_channels * expansion
    squeeze = SqueezeExcite("se", width, max(width // 4, 8)) if squeeze_excite else None
    return inverted_bottleneck(in_channels, out_channels, stride, kernel, width, squeeze, activation)


def inverted_bottleneck(
    in_channels: int,
    out_channels: int,
    stride: int,
    kernel: int,
    width: int,
    squeeze: SqueezeExcite | None,
    activation: Activation,
    groups: int = 1,
) -> tuple[Op, ...]:
    """1x1 expand to `width` (left out where that is `in_channels`), depthwise, `squeeze`, linear 1x1.

    A residual where the shape is kept. With `groups` both 1x1 are in groups, and channels are shuffled behind
    the first (arXiv 1812.03443, section 3.1).
    """
    body: list[Op] = []
    if width != in_channels:
        body.append(Conv("expand", in_channels, width, groups=groups, activation=activation))
    if groups > 1:
        body.append(Shuffle(groups))
    body.append(Conv("depthwise", width, width, kernel, stride, groups=width, activation=activation))
    if squeeze is not None:
        body.append(squeeze)
    body.append(Conv("project", width, out_channels, groups=groups))
    keeps_shape = stride == 1 and in_channels == out_channels
    return (Residual(tuple(body)),) if keeps_shape else tuple(body)


def rounded_to_8(channels: int) -> int:
    """The nearest multiple of 8, never less than 8 nor than 90 % (what MobileNets call `make_divisible`)."""
    nearest = max(8, (channels + 4) // 8 * 8)
    return nearest if nearest >= 0.9 * channels else nearest + 8
