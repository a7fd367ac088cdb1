"""The stock networks that a person would deploy instead of a specialised one, with their published top-1.

Each number is of the named weights: their training recipe, whether they were distilled, their resolution.
Another recipe, or the same at another resolution, has another number.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from ponas_deploy.errors import UnknownNameError

TIMM = "timm results-imagenet.csv, 30 October 2025"
TORCHVISION = "torchvision 0.29, metadata of the weights"
NONE = "none"
"""In place of a network's name: no stock network at all."""


@dataclass(frozen=True, slots=True)
class StockNetwork:
    """A network of a library, and the top-1 that was published for weights of it.

    `constructor` is its name in the library `builder`. `top1_pct` is ImageNet top-1 in percent of the weights
    called `recipe` there, at `resolution` pixels, as `source` has it. `fuse` where its branches are joined
    into single convolutions before it is deployed.
    """

    name: str
    builder: Literal["timm", "torchvision"]
    constructor: str
    top1_pct: float
    recipe: str
    source: str
    distilled: bool = False
    fuse: bool = False
    resolution: int = 224


def _timm(name: str, constructor: str, top1_pct: float, recipe: str, **more: bool) -> StockNetwork:
    return StockNetwork(name, "timm", constructor, top1_pct, recipe, TIMM, **more)


STOCK: tuple[StockNetwork, ...] = (
    _timm("MobileNetV3-Small", "mobilenetv3_small_100", 67.64, "lamb"),
    _timm("PP-LCNet x1.0", "lcnet_100", 72.13, "ra2"),
    _timm("MobileNetV4-Conv-S", "mobilenetv4_conv_small", 73.76, "e2400_r224"),
    _timm("MobileNetV2", "mobilenetv2_100", 72.91, "ra"),
    StockNetwork("ShuffleNetV2 x1.5", "torchvision", "shufflenet_v2_x1_5", 73.00, "V1", TORCHVISION),
    _timm("GhostNet", "ghostnet_100", 73.96, "in1k"),
    _timm("MobileNetV3-Large", "mobilenetv3_large_100", 76.31, "ra4_e3600_r224"),
    _timm("HardCoRe-NAS-A", "hardcorenas_a", 75.93, "miil_green"),
    _timm("MnasNet-A1", "semnasnet_100", 75.45, "rmsp"),
    _timm("EfficientNet-Lite0", "efficientnet_lite0", 75.49, "ra"),
    _timm("LeViT-128S", "levit_128s", 76.52, "fb_dist", distilled=True),
    _timm("HGNetV2-B0", "hgnetv2_b0", 77.36, "ssld_stage2_ft", distilled=True),
    _timm("RegNetY-400MF", "regnety_004", 75.59, "tv2"),
    _timm("MobileOne-S1", "mobileone_s1", 75.76, "apple", fuse=True),
    _timm("HardCoRe-NAS-F", "hardcorenas_f", 78.10, "miil_green"),
    _timm("FBNetV3-B", "fbnetv3_b", 78.18, "ra2"),
    _timm("EfficientNet-B0", "efficientnet_b0", 78.57, "ra4_e3600_r224"),
    _timm("RepViT-M0.9", "repvit_m0_9", 79.06, "dist_450e", distilled=True, fuse=True),
    _timm("MobileNetV4-Conv-M", "mobilenetv4_conv_medium", 79.09, "e500_r224"),
    _timm("ResNet-50", "resnet50", 80.38, "a1"),
)


def stock_networks(names: Sequence[str] | None = None) -> tuple[StockNetwork, ...]:
    """The stock networks of these names or constructors, all for None; nothing for NONE.

    UnknownNameError for a name that no stock network has.
    """
    if names is None:
        return STOCK
    known = {key.lower(): one for one in STOCK for key in (one.name, one.constructor)}
    asked = [name for name in names if name.lower() != NONE]
    for name in asked:
        if name.lower() not in known:
            raise UnknownNameError("stock network", name, [NONE, *(one.constructor for one in STOCK)])
    return tuple(dict.fromkeys(known[name.lower()] for name in asked))
