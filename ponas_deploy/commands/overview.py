"""`ponas` with nothing behind it: where one stands, and what to do next."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from ponas_deploy.commands.output import print_json, show

if TYPE_CHECKING:
    from ponas_deploy.checks.overview import RunState, Step

_RUNS = "runs"
"""Where `ponas train` puts runs that nobody names a folder for."""
_MOST_STEPS = 5


def show_overview(json: bool) -> None:
    """Print what `checks.overview` finds in the store, the device book and the usual folders of here."""
    from ponas_deploy.checks.overview import overview

    problems: list[str] = []
    runs = tuple(_runs(Path(), problems))
    found = overview(Path(), runs, problems)
    if json:
        print_json(found)
        return
    from ponas_deploy.commands.reports.overview import overview_report

    show(*overview_report(found))
    for line in _step_lines(found.next):
        typer.echo(line)  # never folded: a command is there to be copied


def _step_lines(steps: tuple[Step, ...]) -> Iterator[str]:
    from ponas_deploy.errors import printable

    yield "What to do next:"
    for step in steps[:_MOST_STEPS]:
        yield f"  {printable(step.command)}"
        yield f"      {printable(step.why)}"
    if left := len(steps) - _MOST_STEPS:
        yield from [f"  and {left} more: ponas --json lists all of them"] if left > 0 else []
    yield "  ponas --help"
    yield "      lists all commands"


def _runs(folder: Path, problems: list[str]) -> Iterator[RunState]:
    documents = sorted((folder / _RUNS).glob("*/run.json"))
    if not documents:
        return
    from searchspace.errors import PonasError

    for document in documents:
        try:
            yield _run(document)
        except (PonasError, OSError) as error:
            problems.append(str(error))


def _run(document: Path) -> RunState:
    from ponas_deploy.checks.overview import RunState
    from ponas_deploy.commands.train.status import command_of
    from ponas_deploy.files.documents import read_raw
    from train.files import RUN, SPECIALIZED_RUN, TRANSFER_RUN, read_status
    from train.files.lock import holder

    folder = document.parent
    if read_raw(document, RUN, TRANSFER_RUN, SPECIALIZED_RUN).format == SPECIALIZED_RUN:
        done = (folder / "result.json").exists()
        stage = "done" if done else "a network of its own"
        return RunState(str(folder), stage, holder(folder) is not None, None, "")
    found = read_status(folder)
    idle = found.stage != "done" and found.holder is None
    return RunState(
        str(folder),
        found.stage,
        found.holder is not None,
        found.best_top1_pct,
        command_of(found) if idle else "",
    )
