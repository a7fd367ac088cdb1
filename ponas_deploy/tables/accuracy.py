"""The accuracy table: what each candidate is worth, as the paper's table T (section 3.1, eq. 3)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import sqrt
from typing import Any

import numpy as np

from ponas_deploy.files.bounds import AtLeastZero, Positive
from ponas_deploy.tables.grid import Grid, SpaceKey
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

    @property
    def top1_of(self) -> str:
        """What a top-1 by the table is of, for people: images, resolution, weights."""
        return ", ".join(filter(None, (f"{self.data} at {self.resolution} px", self.weights)))

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
    only ranks.
    """

    loss: Grid
    top1: Grid | None = None
    space: SpaceKey | None = None
    origin: AccuracyOrigin | None = None
    created: str = ""
    certificate: AccuracyCertificate | None = None
    top1_scale: Top1Scale | None = None

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
        pct = float(scale.top1_pct(np.array(loss_pp)))
        beyond = scale.measured.beyond(pct) if scale.measured else ""
        return PredictedTop1(pct, self.origin.top1_of if self.origin else "of images not known", beyond)

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
