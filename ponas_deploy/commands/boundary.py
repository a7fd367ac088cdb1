"""The one place where errors become exit codes.

Ours end with one line on stderr and exit code 1, as does what the system refuses (a full disk, no
permission, no memory). Ctrl-C ends with a line and 130, other signals with 128 and their number, usage errors
with 2 (typer does that), and 3 says that noise keeps a command from telling whether a budget is met. Anything
else is a bug of ours and shows its traceback.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import typer

from ponas_deploy.commands import output, streams
from ponas_deploy.commands.help_text import HelpfulGroup
from ponas_deploy.commands.signals import Ended, raise_when_ended
from ponas_deploy.commands.waiting import waiting
from searchspace.errors import PonasError

FAILED, USAGE, CANNOT_BE_TOLD = 1, 2, 3
_ORANGE = 166
"""Of 256 colours, that of warnings in reports: yellow cannot be read on a light terminal."""
INTERRUPTED = 130
"""What a shell reports for a program that Ctrl-C ended: 128 + SIGINT."""
_MOST_SHOWN = 4000
"""Characters of an error: a name of five thousand letters is not worth a screen."""
_ADVICE = {
    errno.ENOSPC: "make room there, and start again",
    errno.EDQUOT: "make room there, and start again",
    errno.EACCES: "change its permissions, or name another place",
    errno.EPERM: "change its permissions, or name another place",
    errno.EROFS: "name another place",
    errno.ENAMETOOLONG: "give a shorter name",
    errno.ELOOP: "its links lead in a circle",
    errno.EMFILE: "allow more open files (ulimit -n)",
    errno.ENOMEM: "close other programs, or ask for a smaller batch",
    errno.EAGAIN: "allow more processes and threads (ulimit -u)",
}

_KEPT = {
    "profile": "the same command goes on from here.",
    "networks": "the networks that were measured are kept, and the same command goes on from there.",
    "search": "the networks that were evaluated are kept, and the same command goes on from there.",
    "specialize": "what was profiled is kept, no engine is: the same command goes on from there.",
    "export": "nothing was kept, and an engine that was there is as it was: the same command starts again.",
}
"""What is left of a command that was ended, and how to go on; `train` names its folder."""

_RUNTIME_ERRORS = (
    ("can't start new thread", "no more threads can be started: allow more (ulimit -u)."),
    ("Symlink loop", "a path's links lead in a circle: name another place."),
)
"""What Python raises as a RuntimeError although the system refused it, and what that is in words."""


class ErrorBoundary(HelpfulGroup):
    """The group of all commands: what they raise ends here."""

    def invoke(self, ctx: Any) -> Any:  # typer's context, whose class moved between versions
        """Run the command; errors of ours and of the system, and signals, become an exit code."""
        from ponas_deploy.files.notes import transfer_bar

        output.begin()
        bars = transfer_bar.set(waiting)
        try:
            return super().invoke(ctx)
        except PonasError as error:
            _complain("error: ", str(error), typer.colors.RED)
            raise typer.Exit(_exit_code(error)) from error
        except KeyboardInterrupt as interrupt:
            name, code = "interrupted", INTERRUPTED
            if isinstance(interrupt, Ended):
                name, code = f"ended by {interrupt}", interrupt.exit_code
            kept = _KEPT.get(ctx.invoked_subcommand)
            _complain(name, f": {kept}" if kept else "", _ORANGE)
            raise typer.Exit(code) from interrupt
        except Exception as error:
            if not (refused := refusal(error)):
                raise
            _complain("error: ", refused, typer.colors.RED)
            raise typer.Exit(FAILED) from error
        finally:
            transfer_bar.reset(bars)


def run(app: Callable[[], object]) -> None:
    """Call the program: with streams that take any text, and signals that let it clean up."""
    streams.prepare()
    raise_when_ended()
    try:
        try:
            app()
        finally:
            streams.flush()
    except SystemExit as end:
        if ended := _signal_behind(end):  # while arguments were parsed, typer takes it for Ctrl-C
            sys.exit(ended.exit_code)
        raise
    except (OSError, MemoryError) as error:  # while it started, or printed its help
        if not (refused := refusal(error)):
            raise
        streams.discard()
        _complain("error: ", refused, typer.colors.RED)
        sys.exit(FAILED)


def _signal_behind(end: SystemExit) -> Ended | None:
    """The signal that a program ends because of, where typer made an exit of it."""
    made_of = end.__context__.__cause__ if end.__context__ else None
    return made_of if isinstance(made_of, Ended) else None


def refusal(error: Exception) -> str:
    """What the system refused, in words; empty for what is no such thing, or has no words."""
    if _lacks_memory(error):
        return "there is not enough memory: close other programs, or ask for a smaller batch."
    if isinstance(error, RuntimeError):
        return next((words for text, words in _RUNTIME_ERRORS if text in str(error)), "")
    if not isinstance(error, OSError) or error.errno is None or isinstance(error, BrokenPipeError):
        return ""
    if error.filename is None and error.errno == errno.ENOENT:
        return "the current folder is gone: change to one that exists."
    what = "standard output" if error.filename is None else os.fsdecode(error.filename)
    advice = _ADVICE.get(error.errno)
    return f"{what}: {error.strerror}{f': {advice}' if advice else ''}."


def _lacks_memory(error: Exception) -> bool:
    """Whether Python, a runtime or protobuf (in an error of its own) got no memory."""
    from ponas_deploy.machines.processes import lacks_memory

    if isinstance(error, MemoryError) or not lacks_memory(str(error)):
        return isinstance(error, MemoryError)
    from google.protobuf.message import EncodeError

    return isinstance(error, (EncodeError, RuntimeError))


def _exit_code(error: PonasError) -> int:
    from ponas_deploy.errors import BudgetError

    return CANNOT_BE_TOLD if isinstance(error, BudgetError) and error.cannot_be_told else FAILED


def _complain(label: str, message: str, colour: str | int) -> None:
    from ponas_deploy.errors import printable

    one_line = printable(" ".join(message.split("\n")))
    if len(one_line) > _MOST_SHOWN:
        one_line = f"{one_line[: _MOST_SHOWN // 2]} ... {one_line[-_MOST_SHOWN // 2 :]}"
    styled = not os.environ.get("NO_COLOR")
    with suppress(OSError):  # nobody is there to read it
        typer.echo(
            typer.style(label, fg=colour, bold=True) + one_line if styled else label + one_line, err=True
        )
