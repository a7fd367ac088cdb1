"""What documents of `--json` share."""

from __future__ import annotations

from dataclasses import fields
from typing import Any


def values_of(document: Any) -> dict[str, Any]:
    """The fields of a document, for one that has more of them."""
    return {field.name: getattr(document, field.name) for field in fields(document)}
