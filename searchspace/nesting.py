"""Whether the candidates of a layer are parts of its largest one: first channels, centres of kernels.

Progressive fine-tuning cuts them out of it (arXiv 2003.05112, figure 1b), progressive shrinking shares its
weights.
"""

from __future__ import annotations

from searchspace.ops import parameters
from searchspace.space import Space


def foreign_part(space: Space) -> str:
    """The first tensor of a candidate that the largest of its layer has no room for, in words; else empty."""
    for layer in space.layers:
        full = {parameter.name: parameter.shape for parameter in parameters(layer.largest.ops, "")}
        for candidate in layer.candidates:
            for part in parameters(candidate.ops, ""):
                if not is_inside(part.shape, full.get(part.name, ())):
                    return (
                        f"layer {layer.name} of space '{space.name}': '{layer.largest.label}', its largest"
                        f" candidate, has no part '{part.name[1:]}' {part.shape} for '{candidate.label}'."
                    )
    return ""


def is_inside(part: tuple[int, ...], full: tuple[int, ...]) -> bool:
    """Whether a shape is cut from another one."""
    return len(part) == len(full) and all(map(int.__le__, part, full))
