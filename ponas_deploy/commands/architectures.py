"""From what a person typed to an architecture."""

from __future__ import annotations

from searchspace import PUBLISHED, Architecture, build_space, parse_architecture

DEFAULT_SPACE = "ponas"


def read_architecture(text: str, space: str | None, resolution: int, classes: int) -> Architecture:
    """An architecture from a name, a text form or a file; a published name knows its own space."""
    published, _ = PUBLISHED.get(text.strip().upper(), (DEFAULT_SPACE, ""))
    return parse_architecture(text, build_space(space or published, resolution, classes))
