"""The spaces this project knows, by name: one row a space, each in a file of its own beside this one."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import TypeAlias

from searchspace.errors import PonasError, UnknownNameError
from searchspace.mixed import SUFFIX, is_mixed, mixed, plain_name
from searchspace.space import Space
from searchspace.spaces.ofa import TRAINED_PX, TRAINED_PX_W12, ofa_mbv3, ofa_mbv3_w12
from searchspace.spaces.ponas import ponas
from searchspace.spaces.spos import spos_proxyless, spos_shufflenet, spos_shufflenet_authors
from searchspace.zoo.registry import published_network, published_networks

Builder: TypeAlias = Callable[[int, int], Space]
SPACES: dict[str, Builder] = {
    "ponas": ponas,
    "ofa-mbv3": ofa_mbv3,
    "ofa-mbv3-w1.2": ofa_mbv3_w12,
    "spos-shufflenet": spos_shufflenet,
    "spos-proxyless": spos_proxyless,
    "spos-shufflenet-authors": spos_shufflenet_authors,
}
"""How each is built, from a resolution (pixels) and a number of classes."""

ELASTIC_PX: dict[str, range] = {"ofa-mbv3": TRAINED_PX, "ofa-mbv3-w1.2": TRAINED_PX_W12}
"""The resolutions in pixels that one supernet of a space serves; a space without is of one at a time."""
USUAL_PX = (160, 192, 224)
"""Of those, what is searched where nobody says."""

DEFAULT_SPACE = "ofa-mbv3"
"""Its accuracy table is of ImageNet, and its authors published trained weights."""

SUMMARIES = {
    "ponas": "PONAS, whose shipped accuracy table is of fractals at 64 px",
    "ofa-mbv3": "Once-for-all on MobileNetV3, whose shipped accuracy table is of subnets on ImageNet",
    "ofa-mbv3-w1.2": "Once-for-all on MobileNetV3 at width 1.2, without an accuracy table of its own",
    "spos-shufflenet": "SPOS on ShuffleNetV2 in MMRazor's blocks, without an accuracy table",
    "spos-proxyless": "SPOS on MobileNet-ProxylessGPU, without an accuracy table",
    "spos-shufflenet-authors": "SPOS on ShuffleNetV2 in its authors' blocks, without an accuracy table",
}
"""What each is, and what its networks are chosen by, in a few words."""


def build_space(name: str = DEFAULT_SPACE, resolution: int = 224, classes: int = 1000) -> Space:
    """Build the search space called `name`, for images of one size and a number of classes.

    Args:
        name: one of the known spaces, such as "ofa-mbv3" or "ponas", or a published network, such as
            "MobileNetV3-Large", whose space has one candidate a layer; in capitals or not. With "-mixed"
            behind it the space whose candidates have a precision (`searchspace.mixed`).
        resolution: side of the square input in pixels.
        classes: how many classes its networks tell apart.

    Raises: UnknownNameError that lists the spaces that exist, PonasError for less than a pixel or a class.
    """
    builder = _builder(name)
    if resolution < 1 or classes < 1:
        raise PonasError(f"resolution {resolution} px and {classes} classes: both must be at least 1.")
    return _built(builder, resolution, classes)


def is_known(name: str) -> bool:
    """Whether there is a space of that name, or a published network, which is a space of its own."""
    base = plain_name(space_named(name))
    return base in SPACES or published_network(base) is not None


def space_named(name: str) -> str:
    """A space's own name for one that is written in capitals or not; any other name as it is."""
    lower = name.strip().lower()
    if is_mixed(lower):
        return f"{space_named(name.strip()[: -len(SUFFIX)])}{SUFFIX}"
    if own := next((one for one in (name, lower) if one in SPACES), None):
        return own
    network = published_network(name)
    return network.name if network else name


def _builder(name: str) -> Builder:
    own = space_named(name)
    base = plain_name(own)
    network = None if base in SPACES else published_network(base)
    builder = network.build if network else SPACES.get(base)
    if builder:
        return _mixed(builder) if is_mixed(own) else builder
    raise UnknownNameError("space", name, (*SPACES, *published_networks()))


@lru_cache(maxsize=32)
def _mixed(builder: Builder) -> Builder:
    """What builds the same space with a precision in each candidate; one function each, to be known by."""
    return lambda resolution, classes: mixed(_built(builder, resolution, classes))


@lru_cache(maxsize=32)
def _built(builder: Builder, resolution: int, classes: int) -> Space:
    """A space is a value, and is made once: a search asks for that of its tables each time."""
    return builder(resolution, classes)


def fingerprint_of(name: str) -> str:
    """The fingerprint of a known space, which is that of all resolutions and classes."""
    return _fingerprint(_builder(name))


@lru_cache(maxsize=32)
def _fingerprint(builder: Builder) -> str:
    return _built(builder, 224, 1000).fingerprint


def published() -> dict[str, str]:
    """The space of each architecture published of a space to search, the first that has it, by its name in
    capitals."""
    found: dict[str, str] = {}
    for space in SPACES:
        for name, _ in build_space(space).published:
            found.setdefault(name.upper(), space)
    return found


def published_space(name: str) -> str | None:
    """The space of a published architecture, in capitals or not; None where nobody knows it."""
    network = published_network(name)
    return network.name if network else published().get(name.strip().upper())
