"""The certificate of an accuracy table: does the summed loss rank networks as they rank themselves?

Kendall's tau and Spearman's rank correlation between what a table says of networks and the top-1 that
they reached, each with an interval from resampled networks (bootstrap percentiles, Efron and Tibshirani
1993, chapter 13). Beside them stand two figures to compare them with: what counting MACs reaches without any
table, and what the noise of the evaluation allows.

The noise is that of the images: a network is evaluated on each half of them, and what its two halves
differ by, more or less than those of the other networks do (one half may be harder for all of them), is
by chance. The standard deviation of those differences is twice that of the accuracy on all images.
What the choice of calibration images adds is not in it: less than half as much (`train.stages.subnets`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import asin, pi, sqrt

import numpy as np

from ponas_deploy.errors import MeasurementError
from ponas_deploy.fitting.additive import LEAST_REPEATS
from ponas_deploy.fitting.ranks import Floats, intervals, rank_correlation, spearman
from ponas_deploy.tables.accuracy import AccuracyCertificate, AccuracyTable
from ponas_deploy.tables.networks_csv import Networks, in_order_of
from ponas_deploy.tables.spaces import ruling_space
from searchspace.architecture import Architecture
from searchspace.cost import count_macs, network_cost
from searchspace.space import Space

LEAST_NETWORKS = 5


@dataclass(frozen=True, slots=True)
class EvaluationNoise:
    """`pp` is the standard deviation of a network's top-1 over sets of images, in percentage points.

    `tau` is the Kendall tau that a second evaluation of the same networks on other images would reach
    (of two normal columns with that noise), None where the networks cannot say.
    """

    pp: float
    tau: float | None = None

    @classmethod
    def of(cls, pp: float, top1_pct: Floats) -> EvaluationNoise:
        """The noise of networks whose top-1 (N,) has it."""
        spread = float(np.var(top1_pct, ddof=1))
        shared = max(1 - pp * pp / spread, 0.0) if spread > 0 else 0.0
        return cls(pp, 2 / pi * asin(shared))


UNKNOWN = EvaluationNoise(0.0)


def noise_of_halves(halves_pct: Sequence[tuple[float, float]]) -> EvaluationNoise:
    """The noise of the mean of both halves, from the top-1 of each: (N, 2) in percent."""
    halves = np.array(halves_pct, dtype=np.float64)
    apart = halves[:, 0] - halves[:, 1]
    return EvaluationNoise.of(float(np.std(apart, ddof=1)) / 2, halves.mean(axis=1))


def certify_accuracy(
    table: AccuracyTable,
    networks: Networks,
    *,
    method: str,
    made_on: str,
    noise: EvaluationNoise | None = None,
    space: Space | None = None,
    seed: int = 0,
) -> AccuracyCertificate:
    """What networks with a top-1 say of a table; rows of the same network count once, with their mean.

    Without `noise` it is that of repeated rows, where there are enough. `space` is what MACs are counted
    in. FileFormatError names a layer or a label that the table does not know, MeasurementError networks
    that are too few or all alike.
    """
    ordered = in_order_of(networks, table.loss, space or ruling_space(table))
    different = tuple(dict.fromkeys(ordered.choices))
    if networks.kind != "accuracy" or len(different) < LEAST_NETWORKS:
        raise MeasurementError(
            f"{len(different)} different networks with a top-1 cannot certify a table:"
            f" evaluate {LEAST_NETWORKS} or more, 50 for an interval that says something."
        )
    top1, repeated = _means(ordered, different)
    if np.ptp(top1) == 0:
        raise MeasurementError(
            f"all {len(different)} networks reach {top1[0]:.2f} %: such images rank no networks,"
            f" take more or harder ones."
        )
    noise = noise or repeated
    predicted = np.array([-table.loss_pp(choices) for choices in different])
    tau, rho = intervals(predicted, top1, seed)
    return AccuracyCertificate(
        len(different),
        rank_correlation(predicted, top1).tau,
        *tau,
        spearman(predicted, top1),
        noise.pp,
        *rho,
        noise.tau,
        None if space is None else _macs_tau(space, different, top1),
        float(top1.mean()),
        method,
        made_on,
    )


def _macs_tau(space: Space, different: Sequence[tuple[str, ...]], top1: Floats) -> float:
    """The tau of the networks' MACs with their top-1 (N,)."""
    counted = [float(network_cost(count_macs, Architecture(space, choices))) for choices in different]
    return rank_correlation(np.array(counted), top1).tau


def _means(networks: Networks, different: Sequence[tuple[str, ...]]) -> tuple[Floats, EvaluationNoise]:
    """The mean top-1 of each different network, and the noise of such a mean from its repeats."""
    number = {choices: index for index, choices in enumerate(different)}
    group = np.array([number[choices] for choices in networks.choices])
    values = np.array(networks.values, dtype=np.float64)
    count = np.bincount(group)
    means = np.bincount(group, values) / count
    freedom = len(values) - len(different)
    if freedom < LEAST_REPEATS:
        return means, UNKNOWN
    single = float(((values - means[group]) ** 2).sum()) / freedom
    return means, EvaluationNoise.of(sqrt(single * float(np.mean(1 / count))), means)
