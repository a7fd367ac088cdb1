"""What can be built: spaces, blocks, architectures, their cost and their ONNX graphs.

No torch, no clock, no device. Each name is loaded when it is first used: the command line starts with nothing
but `searchspace.errors`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from searchspace.architecture import Architecture, parse_architecture
    from searchspace.errors import ArchitectureError, PonasError, SpaceError, UnknownNameError, WeightsError
    from searchspace.space import Candidate, Cell, Layer, Space
    from searchspace.spaces import DEFAULT_SPACE, SPACES, SUMMARIES, build_space, published

_FILES = {
    "architecture": ("Architecture", "parse_architecture"),
    "errors": ("ArchitectureError", "PonasError", "SpaceError", "UnknownNameError", "WeightsError"),
    "space": ("Candidate", "Cell", "Layer", "Space"),
    "spaces": ("DEFAULT_SPACE", "SPACES", "SUMMARIES", "build_space", "published"),
}

__all__ = [
    "DEFAULT_SPACE",
    "SPACES",
    "SUMMARIES",
    "Architecture",
    "ArchitectureError",
    "Candidate",
    "Cell",
    "Layer",
    "PonasError",
    "Space",
    "SpaceError",
    "UnknownNameError",
    "WeightsError",
    "build_space",
    "parse_architecture",
    "published",
]


def __getattr__(name: str) -> object:
    file = next((file for file, names in _FILES.items() if name in names), None)
    if file is None:
        raise AttributeError(f"module 'searchspace' has no attribute '{name}'")
    from importlib import import_module

    found: object = getattr(import_module(f"searchspace.{file}"), name)
    globals()[name] = found
    return found
