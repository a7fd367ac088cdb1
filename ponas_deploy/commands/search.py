"""`ponas search`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ponas_deploy.commands import completing
from ponas_deploy.commands.help_text import DEVICE, EFFORT, IMAGES, TABLES
from ponas_deploy.commands.limits import Limits, OwnLimits, with_limits
from ponas_deploy.commands.options import Json, Seed, own_name
from ponas_deploy.commands.output import note, print_json, show
from ponas_deploy.commands.train.bars import needs_torch, training_bars

if TYPE_CHECKING:
    from ponas_deploy.tables.latency import LatencyTable
    from train.runs import Run

_LONGEST = 80
"""Characters of an architecture that stands in a command to be typed."""


@with_limits
def search(
    limits: Limits,
    own: OwnLimits,
    run: Annotated[
        Path,
        typer.Option(
            metavar="FOLDER|FILE",
            show_default=False,
            help="A finished run of `ponas train`, or the weights of a supernet.",
            rich_help_panel=IMAGES,
        ),
    ],
    space: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            autocompletion=completing.spaces,
            show_default="that of the run",
            callback=own_name,
            help="The search space, to be sure of it.",
            rich_help_panel=IMAGES,
        ),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(
            metavar="NAME|DIR",
            show_default="what the run was trained on",
            help="The images.",
            rich_help_panel=IMAGES,
        ),
    ] = None,
    latency_table: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            autocompletion=completing.latency_tables,
            help="The latency table of --latency: JSON, CSV or a stored name.",
            rich_help_panel=TABLES,
        ),
    ] = None,
    device: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            show_default="this machine",
            help="The device whose stored table --latency takes.",
            rich_help_panel=DEVICE,
        ),
    ] = None,
    generations: Annotated[
        int, typer.Option(metavar="N", min=1, help="Generations.", rich_help_panel=EFFORT)
    ] = 20,
    population: Annotated[
        int, typer.Option(metavar="N", min=1, help="Networks of a generation.", rich_help_panel=EFFORT)
    ] = 50,
    parents: Annotated[
        int,
        typer.Option(
            metavar="N", min=1, help="Best networks that the next ones are made of.", rich_help_panel=EFFORT
        ),
    ] = 10,
    mutants: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=0,
            show_default="half of it or what is left",
            help="Mutants of a generation.",
            rich_help_panel=EFFORT,
        ),
    ] = None,
    mutation: Annotated[
        float,
        typer.Option(
            metavar="SHARE",
            min=0,
            max=1,
            help="How likely a layer of a mutant changes.",
            rich_help_panel=EFFORT,
        ),
    ] = 0.1,
    crossovers: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=0,
            show_default="half of it or what is left",
            help="Crossovers of a generation.",
            rich_help_panel=EFFORT,
        ),
    ] = None,
    seed: Seed = 0,
    on: Annotated[
        str,
        typer.Option(
            "--torch-device",
            metavar="NAME",
            help="What evaluates: auto, cpu or cuda.",
            rich_help_panel=DEVICE,
        ),
    ] = "auto",
    json: Json = False,
) -> None:
    """Search a trained supernet by evolution, with real accuracy as the score.

    Each network inherits its weights; its batch norm is measured again on training images, and its score is
    top-1 on the validation images (SPOS, section 3.4), which `ponas train` holds out of training; whether a
    supernet of others has seen them is not known. No network is evaluated twice, none is over a limit. What
    was evaluated is kept beside the weights: the same command goes on after an interruption.

    \b
    Examples:
      ponas search --run runs/digits-spos-shufflenet-quick --flops 6M
      ponas search --space spos-shufflenet --run runs/imagenet --flops 330M \\
        --latency 5ms --device jetson
      ponas search --run runs/imagenet --latency 5ms \\
        --latency-table jetson.json --json
    """
    needs_torch()
    from ponas_deploy.commands.blas import one_thread

    one_thread()
    from ponas_deploy.engines.evolution_search import evolution_search, plain_budget
    from ponas_deploy.engines.weights_files import read_file
    from ponas_deploy.profiling.target import THIS_MACHINE
    from ponas_deploy.search.evolution import EvolutionSettings
    from train.runs import open_run

    if own:
        raise typer.BadParameter("one limit is for all: leave out the name of the device.")
    settings = EvolutionSettings(
        generations,
        population,
        parents,
        _children(population, mutants, crossovers),
        mutation,
        _children(population, crossovers, mutants),
    )
    weights, budget = _weights(run), plain_budget(limits)
    file = read_file(weights, note)
    with training_bars() as on_progress:
        opened = open_run(file, data, on_progress)
        _refuse_other_space(opened, space)
        table = _latency(latency_table, device or (THIS_MACHINE if budget.latency_ms else None), opened)
        found = evolution_search(
            opened,
            budget,
            table,
            settings,
            seed=seed,
            device=on,
            on_progress=on_progress,
            on_note=note,
        )
    from ponas_deploy.commands.documents.search import search_document

    if json:
        print_json(search_document(found))
        return
    from ponas_deploy.commands.reports.search import search_report

    show(search_report(found))
    name = found.best.architecture.name
    arch, which = (name, "") if len(name) <= _LONGEST else ("ARCH", ", ARCH the best one above")
    note(
        f"next: ponas train specialized {arch} --weights {weights}, or"
        f" ponas export {arch} --weights {weights} --out engine{which}"
    )


def _children(population: int, asked: int | None, others: int | None) -> int:
    """So many as are asked for, else half of a generation, or what the `others` that are asked for leave."""
    return min(population // 2, max(population - (others or 0), 0)) if asked is None else asked


def _weights(run: Path) -> Path:
    from train.files import finished

    return finished(run) if run.is_dir() else run


def _refuse_other_space(run: Run, space: str | None) -> None:
    from ponas_deploy.tables.architectures import agreed

    agreed("space", space, run.space.name, "weights are")


def _latency(file: str | None, device: str | None, run: Run) -> LatencyTable | None:
    """The latency table that was named, or the stored one of a device at the run's resolution and classes."""
    from ponas_deploy.profiling.of_devices import tables_of_devices
    from ponas_deploy.profiling.target import Target
    from ponas_deploy.tables import store

    if file:
        return store.latency_table(file, note).table
    if device is None:
        return None
    first, *others = tables_of_devices([Target(device)], run.space, (), note)
    more = f"; {len(others)} more serve, name one with --latency-table" if others else ""
    note(f"latency by table {first.name}{more}")
    return first.table
