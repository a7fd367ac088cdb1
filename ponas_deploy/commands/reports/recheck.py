"""Whether a table still holds: the verdict, the cells that moved, the networks, and what would be chosen."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Group, RenderableType
from rich.text import Text

from ponas_deploy.checks.latency_changes import Recheck
from ponas_deploy.commands.reports.findings import findings_rows
from ponas_deploy.commands.reports.style import BAD, FAINT, WARN, counted, digits, table

_SHOWN = 10


def recheck_report(found: Recheck) -> RenderableType:
    """The verdict first, then the cells, the networks and the choices it rests on."""
    return Group(*_parts(found))


def _parts(found: Recheck) -> Iterator[RenderableType]:
    yield findings_rows([found.finding])
    own = sum(cell.own for cell in found.cells)
    yield Text(
        f"{len(found.moved)} of {counted(len(found.cells), 'cell')} moved by more than noise, all together by"
        f" {found.common_pct:+.1f} %, {own} otherwise than the rest"
    )
    if found.moved:
        yield _moved(found)
    yield _networks(found)
    yield _choices(found)
    rounds = found.interference
    if rounds and rounds.wrong_because:
        yield Text(
            f"{rounds.wrong_rounds} of {rounds.kept_rounds} rounds were disturbed: {rounds.wrong_because}",
            style=FAINT,
        )


def _moved(found: Recheck) -> RenderableType:
    rows = table("Cells that moved")
    for name in ("layers", "candidate", "before ms", "now ms", "change", ""):
        rows.add_column(name, justify="right" if name.endswith("ms") or name == "change" else "left")
    for cell in found.moved[:_SHOWN]:
        own = "otherwise than the rest" if cell.own else "as the rest"
        rows.add_row(
            ", ".join(cell.layers),
            cell.candidate,
            digits(cell.before_ms),
            digits(cell.now_ms),
            f"{cell.change_pct:+.1f} %",
            Text(own, style="" if cell.own else FAINT),
        )
    return rows


def _networks(found: Recheck) -> RenderableType:
    rows = table("Networks of the front", f"noise now {found.noise_pct:.1f} %")
    for name in ("predicted ms", "measured ms", "error"):
        rows.add_column(name, justify="right")
    for network in found.networks:
        rows.add_row(digits(network.predicted_ms), digits(network.measured_ms), f"{network.error_pct:+.1f} %")
    return rows


def _choices(found: Recheck) -> RenderableType:
    rows = table(
        f"Choices: {found.changed} of {counted(len(found.choices), 'budget')} would change,"
        f" {found.reordered} without what all cells moved by together"
    )
    for name in ("budget ms", "its choice takes", "loss before pp", "loss now pp", ""):
        rows.add_column(name, justify="right" if name else "left")
    for choice in found.choices:
        if choice.after == ():
            outcome = Text("nothing fits", style=BAD)
        elif not choice.changed:
            outcome = Text("the same", style=FAINT)
        else:
            over = choice.takes_ms > choice.budget_ms
            outcome = Text("another: this one is over" if over else "another fits", style=WARN)
        rows.add_row(
            digits(choice.budget_ms),
            f"{digits(choice.takes_ms)} ms",
            f"{choice.loss_before_pp:.2f}",
            "" if choice.loss_after_pp is None else f"{choice.loss_after_pp:.2f}",
            outcome,
        )
    return rows
