"""How the numbers of pixels become a network's input: what training, headers of weights and engines share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Rgb = tuple[float, float, float]
ChannelOrder = Literal["RGB", "BGR"]


@dataclass(frozen=True, slots=True)
class Normalisation:
    """A value v in [0, 1] becomes (v - mean) / std, channel by channel in their order."""

    mean: Rgb
    std: Rgb
    channel_order: ChannelOrder = "RGB"

    @property
    def header(self) -> dict[str, str]:
        """All of it as the header of a weights file says it."""
        return {
            "mean": ",".join(map(str, self.mean)),
            "std": ",".join(map(str, self.std)),
            "channel_order": self.channel_order,
        }


IMAGENET = Normalisation((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
BGR_BYTES = Normalisation((0.0,) * 3, (1 / 255,) * 3, "BGR")
"""Numbers from 0 to 255, blue first: OpenCV's, which the SPOS authors' networks were trained on
(github.com/megvii-model/SinglePathOneShot)."""
