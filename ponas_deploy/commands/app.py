"""The command line: options in, one library call, one report out. Nobody imports it but the entry point.

To add a command, write `commands/<name>.py` with one typed function whose heavy imports stand inside
it, and name it in the list below; its place there is its place in `ponas --help`. Options that several
commands share are in `options.py`, quantities with units in `quantities.py`, printing in `output.py`.
"""

from __future__ import annotations

from functools import partial
from typing import Annotated

import typer

from ponas_deploy import __version__
from ponas_deploy.commands.boundary import ErrorBoundary, run
from ponas_deploy.commands.bundle import bundle
from ponas_deploy.commands.compare import compare
from ponas_deploy.commands.describe import describe
from ponas_deploy.commands.devices import devices_app
from ponas_deploy.commands.doctor import doctor
from ponas_deploy.commands.evaluate import evaluate
from ponas_deploy.commands.export import export
from ponas_deploy.commands.help_text import CHOOSE, LOOK, MEASURE, TRAIN, UNDERSTAND, HelpfulCommand
from ponas_deploy.commands.measure import measure
from ponas_deploy.commands.networks import networks
from ponas_deploy.commands.options import Json
from ponas_deploy.commands.overview import show_overview
from ponas_deploy.commands.pareto import pareto
from ponas_deploy.commands.profile import profile
from ponas_deploy.commands.report import report
from ponas_deploy.commands.schema import schema
from ponas_deploy.commands.search import search
from ponas_deploy.commands.specialize import specialize
from ponas_deploy.commands.table import table_app
from ponas_deploy.commands.train import train_app
from ponas_deploy.commands.verify import verify
from ponas_deploy.commands.weights import weights

app = typer.Typer(
    cls=ErrorBoundary,
    invoke_without_command=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    # Plain help: the rich one alone takes longer to import than everything else `ponas --help` does.
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)

# The order of `ponas --help`: look around, measure, choose, understand, train.
_COMMANDS = {
    LOOK: (doctor, describe, schema),
    MEASURE: (profile, measure, networks, bundle),
    CHOOSE: (specialize, export, verify),
    UNDERSTAND: (pareto, compare, report),
    TRAIN: (search, evaluate, weights),
}
_GROUPS = ((devices_app, "devices", LOOK), (table_app, "table", UNDERSTAND), (train_app, "train", TRAIN))

for _panel, _commands in _COMMANDS.items():
    for _command in _commands:
        app.command(cls=HelpfulCommand, rich_help_panel=_panel)(_command)
for _group, _name, _panel in _GROUPS:
    app.add_typer(_group, name=_name, rich_help_panel=_panel)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"ponas-deploy {__version__}")
        raise typer.Exit()


@app.callback()
def ponas(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
    json: Json = False,
) -> None:
    """Pick the best CNN for a latency budget on your device, from measurements of that device.

    Without a command it says where you stand (the latency tables of this machine and of your boards, engines
    and training runs in the folders engines and runs) and what to do next.

    Every command explains itself with an example: ponas COMMAND --help. With --json a command prints
    one JSON document on stdout and nothing else there. What --out names is written whole or not at all; a
    symbolic link is followed, to what is not there yet too.

    Exit codes: 0 done, 1 an error that one sentence explains, 2 wrong usage, 3 the machine is too noisy to
    tell whether a latency budget is met, 130 interrupted, 128 and its number ended by another signal.

    \b
    Examples:
      ponas
      ponas specialize --device cpu --latency 60%
      ponas --json
    """
    if context.invoked_subcommand is None:
        show_overview(json)
    elif json:
        raise typer.BadParameter("write it behind the command: ponas COMMAND --json.", param_hint="--json")


def main() -> None:
    """The entry point of `ponas` and of `cli.py`."""
    run(partial(app, prog_name="ponas"))
