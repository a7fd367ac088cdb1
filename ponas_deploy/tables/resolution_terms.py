"""What networks lose at other resolutions than that of their accuracy table: one more additive term.

Once-for-all (arXiv 1908.09791) trains one supernet for all resolutions, and its authors predict accuracy with
resolution as one more input. Latency and MACs do not add with it: each resolution has tables of its own.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise

from ponas_deploy.files.bounds import AtLeastZero, Resolution


@dataclass(frozen=True, slots=True)
class ResolutionTerm:
    """Points of top-1 that a network loses at a resolution in pixels; below 0 where it gains."""

    resolution: Resolution
    lost_pp: float


@dataclass(frozen=True, slots=True)
class ResolutionTerms:
    """Points of top-1 lost at each of several resolutions, ascending, 0 at the table's own.

    Between two of them the loss lies on a straight line, beyond them it is not known. From network to network
    it is another by `off_pp` points. `source` says where the terms are from.
    """

    terms: tuple[ResolutionTerm, ...]
    off_pp: AtLeastZero
    source: str

    def __post_init__(self) -> None:
        if not self.terms:
            raise ValueError("terms: must hold one resolution or more.")
        for one, later in pairwise(self.terms):
            if one.resolution >= later.resolution:
                raise ValueError("terms: must ascend by resolution.")

    @property
    def ends(self) -> tuple[int, int]:
        """The least and the greatest resolution that is known, in pixels."""
        return self.terms[0].resolution, self.terms[-1].resolution

    def lost_pp(self, resolution: int) -> float | None:
        """Points of top-1 lost at a resolution in pixels; None beyond what is known."""
        for one in self.terms:
            if one.resolution == resolution:
                return one.lost_pp
        for one, later in pairwise(self.terms):
            if one.resolution < resolution < later.resolution:
                share = (resolution - one.resolution) / (later.resolution - one.resolution)
                return one.lost_pp + share * (later.lost_pp - one.lost_pp)
        return None

    def text(self, resolutions: Iterable[int]) -> str:
        """`1 point at 192 px, 3.1 points at 160 px (+-0.2 from network to network; source)`."""
        lost = {px: self.lost_pp(px) for px in sorted(set(resolutions), reverse=True)}
        parts = [f"{points(value)} at {px} px" for px, value in lost.items() if value is not None]
        return f"{', '.join(parts)} (+-{self.off_pp:g} from network to network; {self.source})"


def points(value: float) -> str:
    """`1 point`, `3.1 points`."""
    return f"{value:.3g} point{'s' * (f'{value:.3g}' != '1')}"
