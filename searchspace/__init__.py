"""What can be built: spaces, blocks, architectures, their cost and their ONNX graphs.

No torch, no clock, no device. `searchspace.graph` needs onnx and is imported where it is used.
"""

from searchspace.architecture import Architecture, parse_architecture
from searchspace.errors import ArchitectureError, PonasError, SpaceError, UnknownNameError, WeightsError
from searchspace.space import Candidate, Cell, Layer, Space
from searchspace.spaces import DEFAULT_SPACE, SPACES, build_space, published

__all__ = [
    "DEFAULT_SPACE",
    "SPACES",
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
