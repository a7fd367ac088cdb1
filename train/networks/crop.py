"""Smaller blocks cut out of the largest one (arXiv 2003.05112, section 3.2, figure 1b)."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from ponas_deploy.errors import WeightsError
from searchspace import Candidate, Layer
from searchspace.cost import count_params
from searchspace.ops import Op, parameters


def largest(layer: Layer) -> Candidate:
    """The candidate with the most parameters: in PONAS kernel 7, expansion 6, squeeze-and-excite."""
    return max(layer.candidates, key=lambda candidate: count_params(candidate.ops))


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
    if len(have) != len(want) or any(h < w for h, w in zip(have, want, strict=True)):
        raise WeightsError(f"'{name}' of shape {want} cannot be cropped from {have}.")
    cut = []
    for dimension, (full, part) in enumerate(zip(have, want, strict=True)):
        start = (full - part) // 2 if dimension >= 2 else 0  # channels come first, then height and width
        cut.append(slice(start, start + part))
    return tensor.detach()[tuple(cut)].clone()
