"""`ponas train status`."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ponas_deploy.commands.options import Json
from ponas_deploy.commands.output import print_json, show
from ponas_deploy.commands.train.bars import in_hours

if TYPE_CHECKING:
    from train.files import Status


def status(
    run: Annotated[
        Path, typer.Argument(metavar="RUN", show_default=False, help="The folder of a run of `ponas train`.")
    ],
    json: Json = False,
) -> None:
    """Say how far a training run is: running, stopped or finished.

    What was asked, the stage, the time spent and left, the best accuracy so far, the finished rows of the
    table, and which process trains in the folder now. Needs no torch.

    \b
    Examples:
      ponas train status runs/digits-quick
      ponas train status runs/imagenet-paper --json
    """
    from ponas_deploy.errors import printable
    from train.files import read_status

    found = read_status(run)
    if json:
        from ponas_deploy.commands.train.documents import status_document

        print_json(status_document(found, command_of(found)))
        return
    for name, text in _lines(found):
        typer.echo(f"{name:9} {printable(text)}")  # never folded: a command is there to be copied
    if found.table:
        from ponas_deploy.commands.reports.tables import table_report

        typer.echo("")
        show(table_report(found.table, "the run so far"))


def _lines(found: Status) -> Iterator[tuple[str, str]]:
    """What a person reads, line by line with its name."""
    last, holder = found.last, found.holder
    yield "run", str(found.folder)
    if found.asked:
        yield "asked", command_of(found)
    where = f": {last.at}, {100 * last.step / last.steps:.0f} %" if last and found.stage != "done" else ""
    yield "stage", f"{found.stage}{where}"
    stopped = "no" if found.stage == "done" else "no: the command above goes on with it"
    yield "running", holder.text if holder else stopped
    if last:
        left = "" if found.left_s is None else f", {in_hours(found.left_s)} left of this stage"
        yield "time", f"{in_hours(last.seconds)} spent{left}; last line at {last.time}"
        if last.images_per_s is not None:
            yield "speed", f"{last.images_per_s:.0f} images/s"
    if found.best_top1_pct is not None:
        yield "best", f"{found.best_top1_pct:.2f} % top-1 on the validation images"


_OPTIONS = ("data", "space", "seed", "resolution")
"""Settings that `ponas train` has an option for."""


def command_of(found: Status) -> str:
    """The one command that makes this run again, or goes on with it."""
    command = ["ponas", "train", "--out", str(found.folder)]
    if found.transfer:
        return shlex.join([*command[:2], "transfer", *command[2:], *_transfer_options(found)])
    for pair in found.settings:
        name, _, value = pair.partition("=")
        command += [f"--{name}", value] if name in _OPTIONS else ["--set", pair]
    return shlex.join(command)


def _transfer_options(found: Status) -> Iterator[str]:
    """Older runs do not say the last three."""
    given = [(name, found.asked[name]) for name in ("data", "weights", "resolution", "seed")]
    given += [(name, value) for name, _, value in (pair.partition("=") for pair in found.settings)]
    given += [(name, found.asked.get(name)) for name in ("networks", "time", "device")]
    for name, value in given:
        if value is not None:
            yield from (f"--{name.replace('_', '-')}", f"{value:g}" if name == "time" else str(value))
