"""A latency table from another one and a few measurements here.

Another device's table, or another runtime's, already knows which cells are expensive. Whole networks timed
here say what that is worth here, by the correction that isolated cells get too (`calibrate`): a straight
line, and factors of each shape, of each trait and of each cell as far as the networks speak for them and is
usual. No cell is timed alone. Other networks, without a part in the fit, certify it; and the same fit on MACs
in place of the prior says whether the prior was any help.

Other stored tables of the space know things, too: what is fitted is the table, or the mixture of tables, that
predicts held-out networks of here best (`fitting.mixture`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path

import numpy as np

from ponas_deploy.errors import MeasurementError, TableMismatchError
from ponas_deploy.files.records import sha256
from ponas_deploy.fitting.correction import TimedNetwork, certify, correct
from ponas_deploy.fitting.mixture import mixture
from ponas_deploy.measuring.detrend import measurements
from ponas_deploy.measuring.protocol import Samples
from ponas_deploy.profiling.assemble import NetworkSplit, Texts, timed
from ponas_deploy.profiling.resume import prior_header
from ponas_deploy.tables.files import load_latency_table
from ponas_deploy.tables.grid import Grid, SpaceKey
from ponas_deploy.tables.latency import Certificate, Conditions, Correction, LatencyTable
from ponas_deploy.tables.measured_how import MeasurementProtocol, PriorSummary
from ponas_deploy.tables.quality import (
    CERTIFIED_ERROR_PCT,
    CERTIFIED_TAU,
    HOPELESS_ERROR_PCT,
    HOPELESS_TAU,
    NOISY_PCT,
    quality_findings,
)
from ponas_deploy.tables.spaces import in_order_of
from ponas_deploy.tables.statistics import choose_statistic, kendall_tau
from ponas_deploy.tables.store import latency_tables
from searchspace.architecture import only_network
from searchspace.cost import cost_table, count_macs
from searchspace.space import Space

LEAST_NETWORKS, MOST_NETWORKS = 10, 50
NETWORKS = 24
"""How many networks are timed to fit on, where nothing else is asked for."""
MOST_CHECKS = 20
"""With 19 a certificate can show 95 %."""
_IN_FULL = "Profile without --prior."


@dataclass(frozen=True, slots=True)
class Prior:
    """Another table, by its name and the sha256 of its file; `networks` are timed here to fit it on.

    `others` are more tables, by their names, that it may be mixed with or replaced by.
    """

    name: str
    sha256: str
    table: LatencyTable
    networks: int = NETWORKS
    others: tuple[tuple[str, LatencyTable], ...] = ()

    def __post_init__(self) -> None:
        if not LEAST_NETWORKS <= self.networks <= MOST_NETWORKS:
            raise MeasurementError(
                f"{self.networks} measurements beside a prior: ask for {LEAST_NETWORKS} to {MOST_NETWORKS};"
                " fewer tell too little, and with more a profile without a prior is worth its time."
            )

    def document(self) -> dict[str, str]:
        """What a journal and a table say of it."""
        return prior_header(self.name, self.sha256, self.networks)

    def grid(self, space: Space) -> Grid:
        """Its values in the order of a space; TableMismatchError for a table of another one."""
        return in_order_of(self.table.grid, self.table.space, space, f"the prior {self.name}")

    def mixed(
        self, space: Space, networks: Sequence[TimedNetwork], statistic: str
    ) -> tuple[Grid, dict[str, float]]:
        """The prior for networks that were timed here, and each table's share in it, none if alone."""
        if not self.others:
            return self.grid(space), {}
        named = {self.name: self.grid(space)}
        named |= {
            name: in_order_of(table.grid, table.space, space, f"the table {name}")
            for name, table in self.others
        }
        measured = np.array([net.measurement.value_ms(statistic) for net in networks])
        found = mixture(list(named.values()), [net.choices for net in networks], measured)
        shares = dict(zip(named, found.weights, strict=True))
        if shares[self.name] == 1.0:
            return named[self.name], {}
        return found.grid, {name: round(share, 4) for name, share in shares.items() if share > 0}

    def refuse_one_network(self, space: Space) -> None:
        """TableMismatchError for a space of one network: there are no networks to fit a prior on."""
        if only_network(space) is not None:
            raise TableMismatchError(
                f"space '{space.name}' is one network, which a profile measures as it is: a prior is fitted"
                " on many networks of a space. Profile without --prior."
            )

    def refuse_same(self, conditions: Conditions, space: Space, power_mode: str = "") -> None:
        """TableMismatchError when it is a table of what is to be measured, and so no prior of it.

        Of a board in another power mode it is one.
        """
        if _is_of(self.table, conditions, SpaceKey.of(space), power_mode):
            raise TableMismatchError(
                f"the prior {self.name} is a table of these very conditions ({conditions.text}): use it as it"
                " is, `ponas table recheck` says whether it still holds; or profile without --prior."
            )


def load_prior(path: Path, networks: int = NETWORKS) -> Prior:
    """The prior in a file, under the names of its folder and itself."""
    return Prior(f"{path.parent.name}/{path.stem}", sha256(path), load_latency_table(path), networks)


def _is_of(table: LatencyTable, conditions: Conditions | None, space: SpaceKey | None, mode: str) -> bool:
    """Whether a table is of these conditions in this power mode; modes are compared where both are known."""
    other_mode = table.power_mode != mode and bool(table.power_mode and mode)
    return (table.conditions, table.space) == (conditions, space) and not other_mode


def with_stored(prior: Prior, conditions: Conditions, space: Space, power_mode: str = "") -> Prior:
    """The same prior with the other stored tables of the space, but for those of these very conditions.

    `power_mode` is that of the device now. A table that its own certificate calls hopeless is left out, and
    so is an estimate.
    """
    own = prior.table
    others = tuple(
        (stored.name, stored.table)
        for stored in latency_tables()[0]
        if stored.table.space is not None
        and stored.table.space.fingerprint == space.fingerprint
        and not stored.table.estimated
        and not _is_of(stored.table, own.conditions, own.space, own.power_mode)
        and not _is_of(stored.table, conditions, SpaceKey.of(space), power_mode)
        and not any(finding.severity == "error" for finding in quality_findings(stored.table))
    )
    return replace(prior, others=others)


def assemble_from(
    prior: Prior,
    space: Space,
    conditions: Conditions,
    samples: Samples,
    networks: NetworkSplit,
    *,
    environment: Texts,
    protocol: MeasurementProtocol,
) -> LatencyTable:
    """The table of `conditions`: the prior, fitted on networks that were timed here, certified on others.

    MeasurementError when the prior says too little about this machine, unless noise may be why. A table
    for which it was no help is made, and its protocol says so (`PriorSummary.finding`).
    """
    measured = measurements(samples)
    fit, check = timed(measured, networks.fit), timed(measured, networks.check)
    statistic = choose_statistic([net.measurement for net in (*fit, *check)])
    there, shares = prior.mixed(space, fit, statistic)
    grid, correction = _fitted(prior, there, space, fit, statistic)
    certificate = certify(grid, there, check, statistic)
    _refuse_hopeless(prior, certificate)
    without = _cross_validated_without_pct(space, fit, statistic)
    no_help = _why_no_help(prior, dict(correction.parameters)["cross_validated_pct"], without, certificate)
    parameters = (*correction.parameters, ("prior_tau", _tau(certificate)))
    if math.isfinite(without):
        parameters = (*parameters, ("macs_cross_validated_pct", without))
    return LatencyTable(
        grid=grid,
        space=SpaceKey.of(space),
        conditions=conditions,
        statistic=statistic,
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        environment=environment,
        protocol=replace(protocol, prior=_summary(prior, no_help, shares)),
        cell_keys=tuple(tuple(cell.key for cell in row) for row in space.cells()),
        correction=Correction(f"{correction.method}, on a prior", parameters, correction.networks),
        certificate=certificate,
    )


def _fitted(
    prior: Prior, there: Grid, space: Space, fit: Sequence[TimedNetwork], statistic: str
) -> tuple[Grid, Correction]:
    try:
        return correct(there, space.cells(), fit, statistic, least=LEAST_NETWORKS)
    except MeasurementError as error:
        raise MeasurementError(
            f"the prior {prior.name} is no help here: networks that it takes for slower are not slower."
            f" {_IN_FULL}"
        ) from error


def _refuse_hopeless(prior: Prior, certificate: Certificate) -> None:
    """Refuse what only the prior can be blamed for: of a noisy machine the certificate speaks (`trust`)."""
    if certificate.noise_floor_pct > NOISY_PCT:
        return
    if certificate.mean_error_pct > HOPELESS_ERROR_PCT or certificate.kendall_tau < HOPELESS_TAU:
        raise MeasurementError(
            f"the prior {prior.name} says too little about this machine: fitted here it is"
            f" {certificate.mean_error_pct:.0f} % off on other networks, with a rank correlation of"
            f" {certificate.kendall_tau:.2f} (noise alone allows {certificate.noise_tau:.2f}). {_IN_FULL}"
        )


def _cross_validated_without_pct(space: Space, fit: Sequence[TimedNetwork], statistic: str) -> float:
    """The cross-validated error of the same fit on MACs in place of the prior; infinite where it fails."""
    try:
        macs = macs_in_ms(space, fit, statistic)
        _, correction = correct(macs, space.cells(), fit, statistic, least=LEAST_NETWORKS)
    except MeasurementError:
        return math.inf
    return dict(correction.parameters)["cross_validated_pct"]


def macs_in_ms(space: Space, networks: Sequence[TimedNetwork], statistic: str) -> Grid:
    """What cells would cost if MACs were all: a table without any knowledge of a device."""
    fixed, rows = cost_table(count_macs, space)
    typical_ms = float(np.mean([net.measurement.value_ms(statistic) for net in networks]))
    macs = Grid.over(space, rows, fixed)
    scale = typical_ms / float(np.mean([macs.total(net.choices) for net in networks]))
    # A candidate without any operation has no MACs, and a cell needs a cost to get a factor.
    least = 1e-3 * typical_ms / len(rows)
    return Grid.over(space, ([max(scale * value, least) for value in row] for row in rows), scale * fixed)


def _tau(certificate: Certificate) -> float:
    """Rank correlation between what the prior itself says of the check networks, and what they take here."""
    said, took = (
        [getattr(net, name) for net in certificate.networks] for name in ("isolated_ms", "measured_ms")
    )
    return kendall_tau(np.array(said), np.array(took))


def _why_no_help(prior: Prior, own: float, without: float, certificate: Certificate) -> str:
    """Why the prior was no help, by the cross-validated errors with it and without; empty where it was."""
    sound = certificate.error_bound_pct <= CERTIFIED_ERROR_PCT and certificate.kendall_tau >= CERTIFIED_TAU
    advice = "Take another prior, or profile without one."
    if own >= without:
        rest = "What the table knows comes from the networks that were timed here." if sound else advice
        return (
            f"the prior {prior.name} was no help: with it networks are predicted to {own:.1f} %, from MACs"
            f" alone to {without:.1f} %. {rest}"
        )
    if (tau := _tau(certificate)) < HOPELESS_TAU:
        return (
            f"the prior {prior.name} orders networks otherwise than this machine (rank correlation"
            f" {tau:.2f}): cells that no measured network tells apart may be wrong. {advice}"
        )
    return ""


def _summary(prior: Prior, no_help: str, shares: dict[str, float]) -> PriorSummary:
    conditions, certificate = prior.table.conditions, prior.table.certificate
    return PriorSummary(
        prior.name,
        prior.sha256,
        prior.networks,
        conditions.text if conditions else "",
        round(certificate.mean_error_pct, 2) if certificate else None,
        no_help,
        shares,
    )
