"""The accuracy table that is fitted to networks of a supernet, with the run as its origin."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ponas_deploy.fitting import Fit
    from ponas_deploy.tables.accuracy import AccuracyTable
    from train.runs import EvaluatedSubnets, Run


def fit_subnets(run: Run, found: EvaluatedSubnets, seed: int) -> Fit:
    """The fit to evaluated networks; MeasurementError where all of them are equally good."""
    from ponas_deploy.errors import MeasurementError
    from ponas_deploy.fitting import fit_networks
    from ponas_deploy.profiling.tables import accuracy_of

    values = set(found.networks.values)
    if len(values) == 1:
        own = "specialize with the space's own table, or " if accuracy_of(run.space) else ""
        raise MeasurementError(
            f"all {len(found.networks)} networks reach {min(values):.1f} % on the validation images, which so"
            f" rank none of them: the supernet is kept, in {run.file.path}; {own}train longer, or give more"
            " and harder images."
        )
    return fit_networks(found.networks, space=run.space.name, seed=seed)


def fitted_table(
    fit: Fit, run: Run, found: EvaluatedSubnets, epochs: tuple[tuple[str, int], ...]
) -> AccuracyTable:
    """The table of a fit to evaluated networks of a run, whose training took `epochs` by the stage's name."""
    from dataclasses import replace
    from datetime import datetime, timezone
    from statistics import fmean

    from ponas_deploy.fitting import table_of
    from ponas_deploy.fitting.certify import noise_of_halves
    from ponas_deploy.tables.accuracy import AccuracyTable

    created = datetime.now(timezone.utc).isoformat(timespec="seconds")
    made = table_of(fit, created=created, resolution=run.space.resolution, classes=run.space.classes)
    assert isinstance(made, AccuracyTable)
    assert made.origin is not None
    assert made.certificate is not None
    origin = replace(
        made.origin,
        data=run.splits.name,
        method="fitted",
        images=len(run.splits.validation.labels),
        epochs=epochs,
        weights="weights inherited from the supernet",
        details=(*made.origin.details, ("calibration_images", str(run.calibration_images))),
    )
    noise = noise_of_halves(found.halves_pct)
    top1 = fmean(found.networks.values)
    certificate = replace(
        made.certificate, noise_pp=noise.pp, noise_tau=noise.tau, top1_pct=top1, made_on=run.made_on
    )
    return replace(made, origin=origin, certificate=certificate)
