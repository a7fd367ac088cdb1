"""`ponas train table`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ponas_deploy.commands.options import Force, Json, Seed
from ponas_deploy.commands.train.bars import needs_torch, training_bars

if TYPE_CHECKING:
    from ponas_deploy.fitting import Fit
    from ponas_deploy.tables.accuracy import AccuracyTable

METHODS = ("fitted", "progressive")
_SECONDS = 600.0


def table(
    run: Annotated[
        Path,
        typer.Option(metavar="FOLDER", show_default=False, help="A finished run of `ponas train`."),
    ],
    method: Annotated[
        str, typer.Option(metavar="NAME", help="fitted (to random networks) or progressive (the paper's).")
    ] = "fitted",
    data: Annotated[
        str | None,
        typer.Option(metavar="NAME|DIR", show_default="what the run was trained on", help="The images."),
    ] = None,
    networks: Annotated[
        int | None, typer.Option(metavar="N", min=20, help="Random networks to evaluate for the fit.")
    ] = None,
    time: Annotated[
        float | None,
        typer.Option(
            metavar="SECONDS",
            min=0,
            show_default="600, without --networks",
            help="Evaluate as many as this allows.",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="TABLE", show_default="accuracy-METHOD.json in the run", help="The table to write, JSON."
        ),
    ] = None,
    device: Annotated[str, typer.Option(metavar="NAME", help="auto, cpu or cuda.")] = "auto",
    seed: Seed = 0,
    force: Force = False,
    json: Json = False,
) -> None:
    """Make an accuracy table from a finished run, by either method.

    `progressive` is the paper's table, which the run has already made. `fitted` evaluates random
    networks with the run's weights (batch norm measured again) and fits what every candidate loses to
    log(100 - top-1), or to plain points where they predict better, by ridge least squares; few
    networks are fitted by the effects of kernel, expansion and squeeze-and-excite. On digits 200
    networks gave a rank correlation of 0.83 with others, 400 gave 0.87. What was evaluated is kept in
    the run's folder: a killed command goes on, and a later one with more networks or time adds to it.

    \b
    Examples:
      ponas train table --run runs/digits-quick --networks 400
      ponas train table --run runs/digits-quick --time 300 --out fitted.json \\
        --json
      ponas train table --run runs/digits-quick --method progressive \\
        --out paper.json
    """
    from ponas_deploy.commands.blas import one_thread

    one_thread()
    from ponas_deploy.commands.output import print_json, show
    from ponas_deploy.errors import UnknownNameError
    from ponas_deploy.files.opening import refuse_file
    from ponas_deploy.tables.accuracy_file import write_accuracy_table
    from ponas_deploy.tables.files import load_accuracy_table
    from train.files import finished

    if method not in METHODS:
        raise UnknownNameError("method of a table", method, METHODS)
    target = out or run / f"accuracy-{method}.json"
    if target.suffix.lower() != ".json":
        raise typer.BadParameter("a table with its origin is JSON: name it .json.", param_hint="--out")
    refuse_file(target, overwrite=force)
    weights = finished(run)
    made, fit, evaluated = load_accuracy_table(run / "accuracy.json"), None, None
    if method == "progressive":
        _refuse_fitted(made, run)
    else:
        needs_torch()
        made, fit, evaluated = _fitted(made, weights, data, networks, time, device, seed)
    write_accuracy_table(made, target, overwrite=force)
    if json:
        from ponas_deploy.commands.train.documents import training_table

        print_json(training_table(method, target, fit, evaluated))
        return
    from ponas_deploy.commands.reports.tables import table_report

    show(table_report(made, target.name), f"written to {target}")


def _refuse_fitted(table: AccuracyTable, run: Path) -> None:
    """PonasError for a run of another recipe: nothing was fine-tuned layer by layer there."""
    from ponas_deploy.errors import PonasError

    if table.origin and table.origin.method == "fitted":
        raise PonasError(
            f"{run} has no progressive table, because its layers were not fine-tuned one after the other. Its"
            " accuracy.json is fitted to subnets; --method fitted makes another."
        )


def _fitted(
    kept: AccuracyTable,
    weights: Path,
    data: str | None,
    networks: int | None,
    seconds: float | None,
    device: str,
    seed: int,
) -> tuple[AccuracyTable, Fit, Path]:
    """The fitted table, the fit, and the file of networks that it is fitted to."""
    from ponas_deploy.commands.output import note
    from ponas_deploy.commands.train.fitted import fit_subnets, fitted_table
    from ponas_deploy.engines.weights_files import read_file
    from ponas_deploy.fitting import LEAST_ROWS
    from train.runs import SubnetsWanted, evaluated_subnets, open_run

    if networks is None and seconds is None:
        seconds = _SECONDS
    file = read_file(weights, note)
    with training_bars() as on_progress:
        source = open_run(file, data, on_progress)
        wanted = SubnetsWanted("fit", networks, seconds, LEAST_ROWS, seed, device)
        found = evaluated_subnets(source, wanted, on_progress, note)
    fit = fit_subnets(source, found, seed)
    epochs = kept.origin.epochs if kept.origin else ()
    return fitted_table(fit, source, found, epochs), fit, found.networks.path
