"""The accuracy table: what each candidate is worth, as the paper's table T (section 3.1, eq. 3)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import hypot, sqrt
from typing import Any

import numpy as np

from ponas_deploy.errors import TableMismatchError
from ponas_deploy.files.bounds import AtLeastZero, Positive
from ponas_deploy.tables.grid import Grid, SpaceKey
from ponas_deploy.tables.resolution_terms import ResolutionTerms, points
from ponas_deploy.tables.top1 import PredictedTop1, Top1Scale


@dataclass(frozen=True, slots=True)
class AccuracyOrigin:
    """What an accuracy table was made on: printed with every output that uses it.

    `resolution` in pixels; `images` are the validation images behind each entry; `weights` says how the
    evaluated networks came by theirs, empty where that is not known.
    """

    data: str
    method: str
    resolution: int
    classes: int
    images: int
    epochs: tuple[tuple[str, int], ...]
    seed: int
    details: tuple[tuple[str, str], ...] = ()
    weights: str = ""

    def top1_of(self, where: str = "") -> str:
        """What a top-1 by the table is of, for people: images, resolution (or `where`), weights."""
        return ", ".join(filter(None, (f"{self.data} at {where or f'{self.resolution} px'}", self.weights)))

    @property
    def text(self) -> str:
        """One line for people."""
        images = f", {self.images} validation images" if self.images else ""
        return f"{self.method} on {self.data} at {self.resolution} px{images}"


@dataclass(frozen=True, slots=True)
class AccuracyCertificate:
    """How well summed losses rank networks that were really evaluated: rank correlations, 95 % intervals.

    `noise_pp` is the standard deviation of a network's top-1 from one set of images to another, 0 where
    nothing says it, at the networks' mean top-1, `top1_pct`; `noise_tau` is the Kendall tau of two such
    evaluations, `macs_tau` that of MACs alone.
    `method` says how the networks came by their weights: "inherited" from a supernet, "trained" on
    their own, or "held out" of a fit, whatever they were. `rmse_pp` is the root mean square error of
    predicted top-1. What a file does not say is None or empty.
    """

    networks: Positive
    kendall_tau: float
    kendall_tau_low: float
    kendall_tau_high: float
    spearman: float
    noise_pp: float
    spearman_low: float | None = None
    spearman_high: float | None = None
    noise_tau: float | None = None
    macs_tau: float | None = None
    top1_pct: float | None = None
    method: str = ""
    made_on: str = ""
    rmse_pp: AtLeastZero | None = None

    @property
    def text(self) -> str:
        """The rank correlation for people."""
        low, high = self.kendall_tau_low, self.kendall_tau_high
        return f"tau {self.kendall_tau:.2f} ({low:.2f} to {high:.2f}, {self.networks} networks)"

    def noise_at(self, top1_pct: float) -> float:
        """The noise in percentage points at another top-1: images are hit or missed, a binomial draw."""
        if self.top1_pct is None or not 0 < self.top1_pct < 100:
            return self.noise_pp
        return self.noise_pp * sqrt(_binomial(top1_pct) / _binomial(self.top1_pct))


def _binomial(pct: float) -> float:
    return pct * (100 - pct)


@dataclass(frozen=True, slots=True)
class AccuracyTable:
    """Top-1 in percent (layers, candidates), where it was measured, and the loss it implies.

    `loss` is the paper's table T_d (section 3.3): the best of the layer minus the candidate, in
    percentage points, zero for the best. `top1_scale` says which top-1 a summed loss is, None where the table
    only ranks. `resolution_terms` say what networks lose at other resolutions. A table that was brought to
    another `resolution` (pixels) counts `moved_pp` for it in every loss, one that was brought to a precision
    that loses accuracy `precision_pp`; neither is in a file.
    """

    loss: Grid
    top1: Grid | None = None
    space: SpaceKey | None = None
    origin: AccuracyOrigin | None = None
    created: str = ""
    certificate: AccuracyCertificate | None = None
    top1_scale: Top1Scale | None = None
    resolution_terms: ResolutionTerms | None = None
    resolution: int | None = None
    moved_pp: float = 0.0
    precision_pp: float = 0.0

    @classmethod
    def from_top1(cls, top1: Grid, **known: Any) -> AccuracyTable:
        """The table of accuracies in percent; the loss is taken layer by layer."""
        values = tuple(tuple(max(row) - value for value in row) for row in top1.values)
        return cls(loss=replace(top1, values=values), top1=top1, **known)

    def loss_pp(self, choices: Sequence[str]) -> float:
        """The summed loss of a network, in percentage points."""
        return self.loss.total(choices)

    def predicted_top1(self, loss_pp: float) -> PredictedTop1 | None:
        """The predicted top-1 of a network at its summed loss; None where the table only ranks."""
        scale = self.top1_scale
        if scale is None:
            return None
        below_pp = self.moved_pp + self.precision_pp
        measured_pct = float(scale.top1_pct(np.array(loss_pp - below_pp)))
        beyond = scale.measured.beyond(measured_pct) if scale.measured else ""
        if beyond and self.resolution:
            beyond = f"at {self.measured_px} px {beyond}"
        return PredictedTop1(max(measured_pct - below_pp, 0.0), self._top1_of, beyond)

    @property
    def top1_error_points(self) -> float | None:
        """How far a predicted top-1 is off, a root mean square in points; None where nothing says it.

        What a resolution's term is off by is on top, as of two independent errors.
        """
        known_pp = self.certificate.rmse_pp if self.certificate else None
        if known_pp is None or self.resolution is None or self.resolution_terms is None:
            return known_pp
        return hypot(known_pp, self.resolution_terms.off_pp)

    @property
    def _top1_of(self) -> str:
        if self.origin is None:
            return "of images not known"
        if self.resolution is None or self.resolution_terms is None:
            return self.origin.top1_of()
        off = f"{points(self.moved_pp)} (+-{self.resolution_terms.off_pp:g})"
        return self.origin.top1_of(f"{self.resolution} px (by {self.measured_px} px, less {off})")

    def compared_pp(self, loss_pp: float) -> float:
        """The loss for comparing networks of tables at several resolutions, in percentage points.

        The predicted top-1 below 0 where there is one, for a curve of one table is not another's; else the
        loss.
        """
        top1 = self.predicted_top1(loss_pp)
        return -top1.pct if top1 else loss_pp

    @property
    def measured_px(self) -> int | None:
        """The resolution in pixels that it was measured at; None where nothing says it."""
        return self.space.resolution if self.space else self.origin.resolution if self.origin else None

    def brought_to(self, resolution: int) -> AccuracyTable:
        """The table as it counts at a resolution in pixels; as it is where its terms do not say that."""
        terms, own = self.resolution_terms, resolution == self.measured_px
        lost_pp = terms.lost_pp(resolution) if terms else None
        moved_pp = 0.0 if own else lost_pp
        if moved_pp is None or resolution == (self.resolution or self.measured_px):
            return self
        loss = replace(self.loss, fixed=self.loss.fixed - self.moved_pp + moved_pp)
        return replace(self, loss=loss, resolution=None if own else resolution, moved_pp=moved_pp)

    def in_precision(self, lost_pp: float) -> AccuracyTable:
        """The table as it counts in a precision that loses so many percentage points of any network."""
        loss = replace(self.loss, fixed=self.loss.fixed - self.precision_pp + lost_pp)
        return self if lost_pp == self.precision_pp else replace(self, loss=loss, precision_pp=lost_pp)

    def at(self, resolution: int) -> AccuracyTable:
        """The same for comparing resolutions; TableMismatchError where nothing says what is lost at one."""
        found = self.brought_to(resolution)
        if resolution in (found.resolution, self.measured_px):
            return found
        terms = self.resolution_terms
        known = f" beyond {terms.ends[0]} to {terms.ends[1]} px" if terms else ""
        where = f"at {self.measured_px} px" if self.measured_px else "at a resolution it does not say"
        raise TableMismatchError(
            f"the accuracy table was measured {where}, and nothing says what networks lose at {resolution}"
            f" px{known}: name an --accuracy-table of each resolution, or search one resolution."
        )

    @property
    def ties(self) -> tuple[tuple[bool, ...], ...]:
        """Which candidates lose less than the evaluation noise to the best, and may be as good as it.

        (layers, candidates); none where no certificate says what the noise is. A table of top-1 has the
        noise of its own level, a table of losses that of the certificate's networks.
        """
        certificate = self.certificate
        if certificate is None:
            return tuple((False,) * len(row) for row in self.loss.values)
        if self.top1 is None:
            return tuple(tuple(0 < loss < certificate.noise_pp for loss in row) for row in self.loss.values)
        return tuple(
            tuple(0 < loss < certificate.noise_at(top1) for loss, top1 in zip(*row, strict=True))
            for row in zip(self.loss.values, self.top1.values, strict=True)
        )
