"""The networks that `ponas specialize` builds and times: a table that grows on a terminal, else lines.

The last line says what is tried now, one for each device that is at work.
"""

from __future__ import annotations

from functools import partial
from threading import Lock
from typing import TYPE_CHECKING

from ponas_deploy.commands.output import note

if TYPE_CHECKING:
    from rich.text import Text

    from ponas_deploy.commands.screen import Screen
    from ponas_deploy.engines.attempt import Attempt
    from ponas_deploy.engines.search import OnAttempt


def tries_on(screen: Screen, *, of_several: bool) -> OnAttempt:
    """What reports the tries of a search, those `of_several` devices with the name of each."""
    if not screen.can_draw:
        return partial(_note_attempt, of_several=of_several)
    return _Rows(screen, of_several)


def _note_attempt(attempt: Attempt, *, of_several: bool) -> None:
    """Say what a network is expected to take before it is built, and what it took when it was timed."""
    what = f"{f'{attempt.conditions.device}: ' * of_several}try {attempt.number}"
    if attempt.timing is None:
        note(f"{what}: {_runtime(attempt)}, expected {attempt.expected_ms:.3f} ms; building and timing ...")
        return
    note(f"{what}: measured p{attempt.percentile} {attempt.measured_ms:.3f} ms, {_verdict(attempt)}")


class _Rows:
    """Each try that is timed as a row above what is drawn; devices report from threads of their own."""

    def __init__(self, screen: Screen, of_several: bool) -> None:
        self._screen, self._of_several = screen, of_several
        self._one_at_a_time, self._begun = Lock(), False

    def __call__(self, attempt: Attempt) -> None:
        device = attempt.conditions.device
        with self._one_at_a_time:
            if attempt.timing is None:
                self._screen.show(f"try on {device}", self._row(attempt))
                return
            if not self._begun:
                self._begun = True
                self._print(self._header(attempt.percentile))
            self._print(self._row(attempt))
            self._screen.hide(f"try on {device}")

    def _print(self, row: Text) -> None:
        self._screen.console.print(row, soft_wrap=True)

    def _header(self, percentile: int) -> Text:
        from rich.text import Text

        return Text(
            self._cells("try", "device", "runtime", "expected", f"measured p{percentile}"), style="bold"
        )

    def _row(self, attempt: Attempt) -> Text:
        from rich.text import Text

        from ponas_deploy.commands.reports.style import FAINT, GOOD, WARN
        from ponas_deploy.errors import printable

        timed = attempt.timing is not None
        measured = f"{attempt.measured_ms:.3f} ms" if timed else ""
        names = (printable(attempt.conditions.device), _runtime(attempt))
        cells = self._cells(str(attempt.number), *names, f"{attempt.expected_ms:.3f} ms", measured)
        row = Text(cells.rstrip(), no_wrap=True, overflow="ellipsis")
        if not timed:
            return row.append("  building and timing ...", style=FAINT)
        return row.append(f"  {_verdict(attempt)}", style=GOOD if attempt.meets else WARN)

    def _cells(self, number: str, device: str, runtime: str, expected: str, measured: str) -> str:
        names = f"{device:<12} {runtime:<18}" if self._of_several else f"{runtime:<26}"
        return f"{number:>3}  {names} {expected:>12} {measured:>13}"


def _runtime(attempt: Attempt) -> str:
    return f"{attempt.conditions.backend} {attempt.conditions.precision}{attempt.where}"


def _verdict(attempt: Attempt) -> str:
    from ponas_deploy.engines.verdict import CANNOT_BE_TOLD

    over = ", ".join(one.text for one in attempt.over)
    verdict = "meets the budget" if attempt.meets else f"over the budget{over and f' ({over})'}"
    if attempt.verdict == CANNOT_BE_TOLD:
        verdict += f", which cannot be told at a noise of {attempt.noise_pct:.0f} %"
    return verdict
