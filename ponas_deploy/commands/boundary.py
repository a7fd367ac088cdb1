"""The one place where errors become exit codes.

Ours end with one line on stderr and exit code 1, Ctrl-C with a line and 130, usage errors with 2 (typer
does that), and 3 says that noise keeps a command from telling whether a budget is met. Anything else is a bug
of ours and shows its traceback.
"""

from __future__ import annotations

import os
import sys
from typing import Any

import typer
from typer.core import TyperGroup

from searchspace.errors import PonasError

FAILED, USAGE, CANNOT_BE_TOLD = 1, 2, 3
INTERRUPTED = 130
"""What a shell reports for a program that Ctrl-C ended: 128 + SIGINT."""


class ErrorBoundary(TyperGroup):
    """The group of all commands: what they raise ends here."""

    def invoke(self, ctx: Any) -> Any:  # typer's context, whose class moved between versions
        """Run the command; errors of ours and Ctrl-C become an exit code."""
        try:
            return super().invoke(ctx)
        except PonasError as error:
            _complain("error: ", str(error), typer.colors.RED)
            raise typer.Exit(_exit_code(error)) from error
        except KeyboardInterrupt as interrupt:
            _complain("interrupted", "", typer.colors.YELLOW)
            raise typer.Exit(INTERRUPTED) from interrupt


def _exit_code(error: PonasError) -> int:
    from ponas_deploy.errors import BudgetError

    return CANNOT_BE_TOLD if isinstance(error, BudgetError) and error.cannot_be_told else FAILED


def flush_quietly() -> None:
    """Flush stdout; a reader that left early (`ponas ... | head`) is no error of anyone."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _complain(label: str, message: str, colour: str) -> None:
    from ponas_deploy.errors import printable

    one_line = printable(" ".join(message.split("\n")))
    styled = "NO_COLOR" not in os.environ
    typer.echo(typer.style(label, fg=colour, bold=True) + one_line if styled else label + one_line, err=True)
