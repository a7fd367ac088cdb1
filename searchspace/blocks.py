"""Candidate blocks, written as operations."""

from __future__ import annotations

from searchspace.ops import Activation, Conv, Op, Residual, SqueezeExcite


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

    1x1 expand (absent when `expansion` is 1), depthwise `kernel`, squeeze-and-excite on the
    expanded width with a bottleneck of max(width // 4, 8), linear 1x1 projection; a residual
    when the shape is kept.
    """
    width = in_channels * expansion
    body: list[Op] = []
    if expansion != 1:
        body.append(Conv("expand", in_channels, width, activation=activation))
    body.append(Conv("depthwise", width, width, kernel, stride, groups=width, activation=activation))
    if squeeze_excite:
        body.append(SqueezeExcite("se", width, max(width // 4, 8)))
    body.append(Conv("project", width, out_channels))
    keeps_shape = stride == 1 and in_channels == out_channels
    return (Residual(tuple(body)),) if keeps_shape else tuple(body)
