"""Names of devices as folders and files carry them."""

from __future__ import annotations

import re


def slug(name: str) -> str:
    """A device's name as a folder: lower case, letters, digits and dashes."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
