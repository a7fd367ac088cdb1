"""The spaces this project knows, by name. A new one is a file here and a row in `registry`."""

from searchspace.spaces.registry import (
    DEFAULT_SPACE,
    ELASTIC_PX,
    SPACES,
    SUMMARIES,
    USUAL_PX,
    build_space,
    fingerprint_of,
    is_known,
    published,
    published_space,
    space_named,
)

__all__ = [
    "DEFAULT_SPACE",
    "ELASTIC_PX",
    "SPACES",
    "SUMMARIES",
    "USUAL_PX",
    "build_space",
    "fingerprint_of",
    "is_known",
    "published",
    "published_space",
    "space_named",
]
