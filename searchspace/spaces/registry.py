"""The spaces this project knows, by name.

PONAS: "Progressive One-shot Neural Architecture Search", arXiv 2003.05112, section 3.1. Table 1
of the paper is garbled; the authors' published models settle the 19 layers written here.
"""

from __future__ import annotations

from collections.abc import Callable

from searchspace.errors import PonasError, UnknownNameError
from searchspace.space import Space
from searchspace.spaces.ponas import ponas

SPACES: dict[str, Callable[[int, int], Space]] = {"ponas": ponas}


def build_space(name: str, resolution: int = 224, classes: int = 1000) -> Space:
    """The space called `name`; UnknownNameError lists those that exist."""
    if name not in SPACES:
        raise UnknownNameError("space", name, SPACES)
    if resolution < 1 or classes < 1:
        raise PonasError(f"resolution {resolution} px and {classes} classes: both must be at least 1.")
    return SPACES[name](resolution, classes)
