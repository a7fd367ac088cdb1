"""How one network of a space is trained: by its source's recipe where it has one, else by PONAS's. No torch.

SPOS as MMRazor trains its networks (github.com/open-mmlab/mmrazor): 300 epochs of SGD with momentum, the
learning rate falls in a line to 0, label smoothing, no weight decay on biases and norms. Not as theirs: no
colour jitter; the rate falls epoch by epoch; depthwise convolutions decay too, as in MMRazor 0.x,
but not in 1.x.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from train.settings.recipe import SpecializedSettings

_SPOS = SpecializedSettings(
    epochs=300,
    batch=1024,
    lr=0.5,
    label_smoothing=0.1,
    decay="linear",
    nesterov=False,
    norm_decay=False,
)
_PUBLISHED = dict.fromkeys(("spos-shufflenet", "spos-proxyless", "spos-shufflenet-authors"), _SPOS)


def retraining(space: str, **asked: Any) -> SpecializedSettings:
    """The recipe of networks of the space called `space`; what is `asked` for and not None takes its place.

    PonasError for settings with which nothing can be trained.
    """
    given = {name: value for name, value in asked.items() if value is not None}
    return replace(_PUBLISHED.get(space, SpecializedSettings()), **given)
