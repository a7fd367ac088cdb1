"""Smaller blocks cut out of the largest one (arXiv 2003.05112, section 3.2, figure 1b)."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from ponas_deploy.errors import SpaceError, WeightsError
from searchspace import Space
from searchspace.nesting import foreign_part, is_inside
from searchspace.ops import Op, parameters


def refuse_untrainable(space: Space) -> None:
    """SpaceError for a space whose supernet is not trained layer by layer.

    Where layers are absent from a stage's end only, because a layer is fine-tuned without regard to those
    before it; and where a candidate is no part of the largest of its layer, which training cuts it from.
    """
    if space.stages:
        raise SpaceError(
            f"space '{space.name}' leaves out layers from the end of a stage, and fine-tuning chooses"
            " layer by layer: train it by progressive shrinking (`train.runs.fitted_run`)."
        )
    refuse_no_parts(space)


def refuse_no_parts(space: Space) -> None:
    """SpaceError for a space with a candidate that cannot be cut out of the largest of its layer."""
    if text := foreign_part(space):
        raise SpaceError(
            f"{text} Train its supernet path by path: `ponas train --space {space.name} --set"
            " recipe=single-path`."
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
    if not is_inside(want, have):
        raise WeightsError(f"'{name}' of shape {want} cannot be cropped from {have}.")
    cut = []
    for dimension, (full, part) in enumerate(zip(have, want, strict=True)):
        start = (full - part) // 2 if dimension >= 2 else 0  # channels come first, then height and width
        cut.append(slice(start, start + part))
    return tensor.detach()[tuple(cut)].clone()
