"""What can be built: spaces, blocks, architectures, their cost and their ONNX graphs.

No torch, no clock, no device. `searchspace.graph` needs onnx and is imported where it is used.
"""

from searchspace.architecture import PUBLISHED, Architecture, parse_architecture
from searchspace.errors import ArchitectureError, PonasError, UnknownNameError, WeightsError
from searchspace.space import Candidate, Cell, Layer, Space
from searchspace.spaces import SPACES, build_space

__all__ = [
    "PUBLISHED",
    "SPACES",
    "Architecture",
    "ArchitectureError",
    "Candidate",
    "Cell",
    "Layer",
    "PonasError",
    "Space",
    "UnknownNameError",
    "WeightsError",
    "build_space",
    "parse_architecture",
]
