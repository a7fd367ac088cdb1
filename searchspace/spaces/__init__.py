"""The spaces this project knows, by name. A new one is a file here and a row in `registry`."""

from searchspace.spaces.registry import SPACES, build_space

__all__ = ["SPACES", "build_space"]
