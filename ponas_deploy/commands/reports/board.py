"""One board: how it is reached, what it is and has."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from rich.console import RenderableType
from rich.text import Text

from ponas_deploy.boards.book import Entry, book_path
from ponas_deploy.boards.facts import BoardFacts, BoardRecord
from ponas_deploy.commands.reports.style import FAINT, WARN, table


def board_report(
    entry: Entry, ssh: Mapping[str, str], record: BoardRecord | None, tables: Sequence[str]
) -> Iterator[RenderableType]:
    """A row a fact, runtimes in a table of their own, and what a person should look at."""
    rows = table(f"Board {entry.name}", f"device book: {book_path()}")
    rows.show_header = False
    rows.add_column(style=FAINT, no_wrap=True)
    rows.add_column(overflow="fold")
    for name, value in (*_reached(entry, ssh), *(_is(record) if record else ())):
        rows.add_row(name, value)
    rows.add_row("latency tables", "\n".join(tables) or f"none: `ponas profile --device {entry.name}`")
    yield rows
    if ssh.get("stricthostkeychecking") in ("no", "off", "false"):
        yield Text("ssh does not check the host key (StrictHostKeyChecking no): anybody may answer.", WARN)
    if record is None:
        yield Text(f"It was not asked yet: `ponas devices test {entry.name}`.", WARN)
        return
    runtimes = table("Runtimes there")
    for column in ("runtime", "version", "offers"):
        runtimes.add_column(column, overflow="fold")
    for one in record.facts.runtimes:
        offers = Text(one.problem, WARN) if one.problem else Text(", ".join(one.offers))
        runtimes.add_row(one.name, one.version, offers)
    for name, path in record.facts.programs.items():
        runtimes.add_row(name, "", path)
    yield runtimes


def _reached(entry: Entry, ssh: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    board = entry.board
    if board.aliases:
        yield "aliases", ", ".join(board.aliases)
    if board.host is not None:
        yield "host", board.host
    elif board.command:
        yield "command", " ".join(board.command)
    else:
        yield "command", "none: a process of this machine"
    yield from (("ssh: " + key, value) for key, value in ssh.items())
    yield "python", board.python
    yield "runtimes to use", ", ".join(board.backends) or "all it has"


def _is(record: BoardRecord) -> Iterator[tuple[str, str]]:
    facts = record.facts
    yield "asked", f"{record.asked_at}, round trip {record.round_trip_ms:.1f} ms"
    if facts.board:
        yield "board", facts.board
    yield "processor", f"{facts.processor} ({facts.architecture}), {facts.cores} cores"
    yield "memory", f"{facts.memory_mib:,} MiB"
    yield "system", f"{facts.os}, Python {facts.python}"
    if facts.jetpack:
        yield "L4T", facts.jetpack
    if facts.power_mode:
        yield "power mode", facts.power_mode
    if facts.gpu_clocks:
        yield "GPU clock", _clocks(facts)
    if facts.hottest_c is not None:
        yield "hottest sensor", f"{facts.hottest_c:.0f} °C"
    yield "our folder there", f"{facts.folder}, {facts.free_mib:,} MiB free"


def _clocks(facts: BoardFacts) -> str:
    assert facts.gpu_clocks is not None
    clocks = facts.gpu_clocks
    if clocks.locked:
        return f"locked at {clocks.now_mhz:.0f} MHz"
    return (
        f"{clocks.now_mhz:.0f} MHz, free from {clocks.least_mhz:.0f} to {clocks.most_mhz:.0f}"
        f" ({clocks.governor}): `sudo jetson_clocks` there locks it"
    )
