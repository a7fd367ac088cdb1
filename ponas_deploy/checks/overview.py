"""Where one stands: tables of this machine and of the boards in the book, engines, runs, and what to do next.

Made to answer at once: nothing is measured, no runtime is loaded and no board is reached. What a table was
made with is compared with this machine by the versions of installed packages.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING

from ponas_deploy.errors import PonasError
from ponas_deploy.files.home import home
from ponas_deploy.machines.gpu import this_gpu
from ponas_deploy.machines.machine import this_machine

if TYPE_CHECKING:
    from ponas_deploy.tables.store import StoredTable

ENGINES = "engines"
"""Where `specialize` and `export` put engines that nobody names a folder for."""
_OLD_DAYS = 30.0
"""An engine that was measured so long ago is worth a second measurement."""


@dataclass(frozen=True, slots=True)
class TableState:
    """A latency table, with the figures of its certificate: None without one. `warnings` speak against it.

    `command` makes it again, or goes on with it. `stale` where this machine is not as it was then.
    """

    name: str
    device: str
    space: str
    made: str
    age_days: float | None
    mean_error_pct: float | None
    worst_error_pct: float | None
    kendall_tau: float | None
    noise_floor_pct: float | None
    estimated: bool
    stale: bool
    warnings: tuple[str, ...]
    command: str


@dataclass(frozen=True, slots=True)
class EngineState:
    """An engine folder. `verdict` is empty where no budget was asked for, or nothing was measured."""

    folder: str
    device: str
    runtime: str
    space: str
    made: str
    age_days: float | None
    measured_ms: float | None
    percentile: int
    budget_ms: float | None
    verdict: str
    trained: bool
    warnings: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class BoardState:
    """A board of the device book; `is_what` and `asked` are empty where it was never asked."""

    name: str
    is_what: str
    asked: str
    tables: int


@dataclass(frozen=True, slots=True)
class RunState:
    """A training run. `command` goes on with it; empty for one that is done or runs."""

    folder: str
    stage: str
    running: bool
    best_top1_pct: float | None
    command: str


@dataclass(frozen=True, slots=True)
class Step:
    """What to do next: a command, and why."""

    command: str
    why: str


@dataclass(frozen=True, slots=True)
class Overview:
    """See above; `gpu` is empty without one, `unreadable` says why files are not what they should be."""

    machine: str
    processor: str
    gpu: str
    store: str
    tables: tuple[TableState, ...]
    boards: tuple[BoardState, ...]
    engines: tuple[EngineState, ...]
    runs: tuple[RunState, ...]
    unreadable: tuple[str, ...]
    next: tuple[Step, ...]


def overview(
    folder: Path, runs: Sequence[RunState] = (), unreadable: Sequence[str] = (), now: datetime | None = None
) -> Overview:
    """Look at the store of the user and at the engines below a folder. Nothing is raised, nothing measured.

    Args:
        folder: where engines are looked for: in `engines/`, and in the folders of fleets there.
        runs: the training runs that were found.
        unreadable: why some could not be read.
        now: what ages are counted to, by default this moment.
    """
    problems = list(unreadable)
    now = now or datetime.now(timezone.utc)
    here, gpu = this_machine(), this_gpu()
    boards, names = _boards(problems)
    tables = tuple(_tables((here.name, gpu), names, now, problems))
    boards = tuple(_counted(board, tables) for board in boards)
    engines = tuple(_engines(folder, now, problems))
    steps = tuple(_steps(here.name, gpu, tables, boards, engines, runs))
    described = f"{here.processor}, {here.cores} cores"
    return Overview(
        here.name,
        described,
        gpu,
        str(home()),
        tables,
        boards,
        engines,
        tuple(runs),
        tuple(problems),
        steps,
    )


def age_days(made: str, now: datetime) -> float | None:
    """Days since a time in ISO 8601; None for what is none."""
    try:
        then = datetime.fromisoformat(made.replace("Z", "+00:00"))
    except ValueError:
        return None
    if then.tzinfo is None:
        then = then.replace(tzinfo=timezone.utc)
    return max((now - then).total_seconds() / 86400, 0.0)


def _boards(problems: list[str]) -> tuple[tuple[BoardState, ...], set[str]]:
    """The boards of the book, and all their names."""
    from ponas_deploy.boards.book import read_book

    try:
        book = read_book()
    except PonasError as error:
        problems.append(str(error))
        return (), set()
    if not book:
        return (), set()
    from ponas_deploy.boards.facts import kept_record

    found = []
    for entry in book:
        try:
            record = kept_record(entry)
        except PonasError as error:
            problems.append(str(error))
            record = None
        what = record.facts.board or record.facts.processor if record else ""
        found.append(BoardState(entry.name, what, record.asked_at if record else "", 0))
    return tuple(found), {name for entry in book for name in entry.names}


def _counted(board: BoardState, tables: Sequence[TableState]) -> BoardState:
    count = sum(table.device == board.name for table in tables)
    return BoardState(board.name, board.is_what, board.asked, count)


def _tables(
    here: tuple[str, ...], boards: set[str], now: datetime, problems: list[str]
) -> Iterator[TableState]:
    """This machine's first; one that came with the package was measured on another machine of that name."""
    if not boards and not (home() / "latency").exists():
        return
    from ponas_deploy.tables.store import SHIPPED, latency_tables

    found, errors = latency_tables(shipped=any((SHIPPED / "latency" / name).is_dir() for name in boards))
    problems += map(str, errors)
    ours = [stored for stored in found if stored.device in here and not stored.shipped]
    theirs = [stored for stored in found if stored.device in boards and stored.device not in here]
    for stored in (*ours, *theirs):
        yield _table(stored, now, is_here=stored.device in here)


def _table(stored: StoredTable, now: datetime, *, is_here: bool) -> TableState:
    from ponas_deploy.profiling.differences import differences_by_package
    from ponas_deploy.tables.quality import quality_findings

    table, certificate = stored.table, stored.table.certificate
    moved = differences_by_package(stored) if is_here and not table.estimated else ()
    warnings = [f"made {one.text}" for one in moved]
    warnings += [one.message for one in quality_findings(table) if one.severity in ("warning", "error")]
    return TableState(
        stored.name,
        stored.device,
        table.space.name if table.space else "",
        table.created,
        age_days(table.created, now),
        certificate.mean_error_pct if certificate else None,
        certificate.worst_error_pct if certificate else None,
        certificate.kendall_tau if certificate else None,
        certificate.noise_floor_pct if certificate else None,
        bool(table.estimated),
        bool(moved),
        tuple(warnings),
        _profile_command(stored, is_here=is_here),
    )


def _profile_command(stored: StoredTable, *, is_here: bool) -> str:
    """The command that profiles just what a table is of."""
    conditions, key = stored.conditions, stored.table.space
    device = ("gpu" if stored.device == this_gpu() else "cpu") if is_here else stored.device
    words = ["ponas", "profile", "--device", device]
    if not stored.table.estimated:
        words += ["--backend", conditions.backend, "--precision", conditions.precision]
    for option, value, usual in (
        ("--threads", conditions.threads, 1),
        ("--batch", conditions.batch, 1),
        ("--resolution", key.resolution if key else 224, 224),
        ("--classes", key.classes if key else 1000, 1000),
    ):
        words += [option, str(value)] if value != usual else []
    return shlex.join([*words, "--space", key.name] if key else words)


def _engines(folder: Path, now: datetime, problems: list[str]) -> Iterator[EngineState]:
    manifests = sorted(
        path for pattern in ("*", "*/*") for path in (folder / ENGINES).glob(f"{pattern}/manifest.json")
    )
    if not manifests:
        return
    from ponas_deploy.engines.manifest_file import read_manifest

    for path in manifests:
        try:
            manifest = read_manifest(path.parent)
        except (PonasError, OSError) as error:
            problems.append(str(error))
            continue
        timing, conditions = manifest.measured, manifest.conditions
        said = (*manifest.warnings, *filter(None, (manifest.not_told,)))
        yield EngineState(
            str(path.parent.relative_to(folder)),
            conditions.device,
            f"{conditions.backend} {conditions.precision}",
            manifest.space.name,
            manifest.created,
            age_days(manifest.created, now),
            timing.percentile_ms(manifest.percentile) if timing else None,
            manifest.percentile,
            manifest.budget_ms,
            manifest.verdict or "" if manifest.budget_ms is not None else "",
            manifest.trained,
            said,
        )


def _steps(
    machine: str,
    gpu: str,
    tables: Sequence[TableState],
    boards: Sequence[BoardState],
    engines: Sequence[EngineState],
    runs: Sequence[RunState],
) -> Iterator[Step]:
    """What is broken or begun first, then what is lacking."""
    for run in runs:
        if run.command:
            yield Step(run.command, f"goes on with {run.folder}, which is not finished")
    for table in tables:
        if table.stale:
            yield Step(f"{table.command} --force", f"makes {table.name} again, which is stale")
        elif table.estimated and any(table.device == one.name for one in boards):
            yield Step(table.command, f"measures {table.device}, whose table is estimated")
    for board in boards:
        if not board.asked:
            yield Step(f"ponas devices test {board.name}", f"asks {board.name} what it is and has")
        elif not board.tables:
            yield Step(f"ponas profile --device {board.name}", f"measures {board.name}, which has no table")
    yield from _steps_to_an_engine(machine, gpu, tables, engines)
    for engine in engines:
        if engine.measured_ms is not None and (engine.age_days or 0.0) > _OLD_DAYS:
            yield Step(f"ponas verify {shlex.quote(engine.folder)}", "measures it again: it is a month old")
    for table in tables:
        if table.warnings and not (table.stale or table.estimated):
            yield Step(
                table.command, f"goes on with {table.name}, which is warned of; best on a quiet machine"
            )
    if untrained := next((one for one in engines if not one.trained), None):
        from ponas_deploy.engines.published_weights import published_weights

        if (found := published_weights(untrained.space)).url is not None and not found.file:
            why = f"trained weights: {untrained.folder} carries random ones"
            yield Step(f"ponas weights --space {untrained.space} --download", why)


def _steps_to_an_engine(
    machine: str, gpu: str, tables: Sequence[TableState], engines: Sequence[EngineState]
) -> Iterator[Step]:
    here = [table for table in tables if table.device in (machine, gpu) and not table.stale]
    if not here and not any(one.device in (machine, gpu) for one in engines):
        yield Step("ponas doctor", "says whether this machine is a good place to measure")
        device = "gpu" if gpu else "cpu"
        why = "profiles it and makes the best engine in 60 % of what the best network takes"
        yield Step(f"ponas specialize --device {device} --latency 60%", why)
        return
    lacking = [one for one in tables if not one.stale and not _has_engine(one, engines)]
    for device in dict.fromkeys(table.device for table in lacking):
        table = next(one for one in lacking if one.device == device)
        word = "gpu" if device == gpu else "cpu" if device == machine else device
        command = f"ponas specialize --device {word} --latency 60% --space {table.space}"
        yield Step(command, f"makes an engine for {device} from its table")
    if engines and not lacking:
        yield Step("ponas report --out report.html", "draws the fronts of your tables on one page")


def _has_engine(table: TableState, engines: Sequence[EngineState]) -> bool:
    return any(one.device == table.device for one in engines)
