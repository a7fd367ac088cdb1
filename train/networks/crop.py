"""Smaller blocks cut out of the largest one (arXiv 2003.05112, section 3.2, figure 1b)."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from ponas_deploy.errors import SpaceError, WeightsError
from searchspace import Space
from searchspace.ops import Op, parameters


def refuse_untrainable(space: Space) -> None:
    """SpaceError for a space whose supernet is not trained layer by layer.

    Where layers are absent from a stage's end only, because a layer is fine-tuned without regard to those
    before it; and where a candidate is no part of the largest of its layer, which training cuts it from.
    """
    if space.stages:
        raise SpaceError(
            f"space '{space.name}' leaves out layers from the end of a stage, and fine-tuning chooses"
            " layer by layer: train it by progressive shrinking (`train.runs.shrink_run`)."
        )
    refuse_no_parts(space)


def refuse_no_parts(space: Space) -> None:
    """SpaceError for a space with a candidate that cannot be cut out of the largest of its layer."""
    for layer in space.layers:
        full = {parameter.name: parameter.shape for parameter in parameters(layer.largest.ops, "")}
        for candidate in layer.candidates:
            for part in parameters(candidate.ops, ""):
                if not _is_inside(part.shape, full.get(part.name, ())):
                    raise SpaceError(
                        f"layer {layer.name} of space '{space.name}': '{layer.largest.label}', its largest"
                        f" candidate, has no part '{part.name[1:]}' {part.shape} for '{candidate.label}'."
                        f" Train networks of this space one by one: `ponas train specialized`."
                    )


def crop(source: Mapping[str, Tensor], ops: tuple[Op, ...]) -> dict[str, Tensor]:
    """The tensors of a block made of `ops`, each cut out of the source's tensor of that name; new memory.

    First channels, centre of the kernel; batch norm and squeeze-and-excite likewise. Names are those
    of a `Block`'s state_dict. WeightsError names a tensor that the source lacks or has too small.
    """
    wanted = ((parameter.name.removeprefix("."), parameter.shape) for parameter in parameters(ops, ""))
    return {name: _cut(source, name, shape) for name, shape in wanted}


def _cut(source: Mapping[str, Tensor], name: str, want: tuple[int, ...]) -> Tensor:
    if name not in source:
        raise WeightsError(f"the largest block has no '{name}' to crop from.")
    tensor = source[name]
    have = tuple(tensor.shape)
    if not _is_inside(want, have):
        raise WeightsError(f"'{name}' of shape {want} cannot be cropped from {have}.")
    cut = []
    for dimension, (full, part) in enumerate(zip(have, want, strict=True)):
        start = (full - part) // 2 if dimension >= 2 else 0  # channels come first, then height and width
        cut.append(slice(start, start + part))
    return tensor.detach()[tuple(cut)].clone()


def _is_inside(part: tuple[int, ...], full: tuple[int, ...]) -> bool:
    return len(part) == len(full) and all(map(int.__le__, part, full))
