"""The result of a bundle, brought back from a board: read as a stranger's file, then made into tables.

What is in it is a plan and journals as a profile of here writes them, so a table comes of it as of a profile
that has no time left. Nothing of the archive is written anywhere: its members are read, each by its name and
up to a bound.
"""

from __future__ import annotations

import json
import re
import stat
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal
from zipfile import BadZipFile, ZipFile, ZipInfo

from ponas_deploy.boards.link import bounded
from ponas_deploy.errors import FileFormatError, PonasError, TableMismatchError
from ponas_deploy.files.bounds import AtLeastZero, Batch, Count, Seed, Streams, Threads
from ponas_deploy.files.documents import converted, parse
from ponas_deploy.files.journal import Line
from ponas_deploy.files.notes import OnNote, no_note
from ponas_deploy.files.opening import check_regular, refuse_file
from ponas_deploy.fitting.correction import LEAST_CHECK, LEAST_FIT
from ponas_deploy.machines.names import slug
from ponas_deploy.measuring.protocol import Plan
from ponas_deploy.profiling.assemble import NetworkSplit, assemble
from ponas_deploy.profiling.bundle import board_runtimes, profile_of
from ponas_deploy.profiling.models import WEIGHTS, blocks_of
from ponas_deploy.profiling.resume import Previous, previous_of
from ponas_deploy.profiling.sampling import MOST_CHECK, MOST_FIT
from ponas_deploy.remote.carried_files import FORMAT, PLAN, RESULT, RESULT_FORMAT, journal_name
from ponas_deploy.tables import store
from ponas_deploy.tables.grid import SpaceKey
from ponas_deploy.tables.latency import Conditions, LatencyTable
from ponas_deploy.tables.latency_file import write_latency_table
from ponas_deploy.tables.measured_how import BuildSummary, MeasurementProtocol
from ponas_deploy.tables.rounds import InterferenceSummary, LaunchSummary
from ponas_deploy.tables.store import StoredTable
from searchspace import build_space
from searchspace.architecture import Architecture, only_network
from searchspace.space import Space

MOST_RESULT_BYTES = 256 << 20
_MOST_MEMBER_BYTES = 64 << 20
_MOST_PROFILES = 64
_MOST_NAMES, _MOST_TEXT = 256, 2000
_LEAST_RUN_NS, _MOST_RUN_NS, _MOST_RUNS, _MOST_ROUND = 0.1, 3.6e12, 10**9, 10**6
_ENCRYPTED = 0x1


@dataclass(frozen=True, slots=True)
class _Level:
    """A group of networks of the plan."""

    fit: tuple[str, ...]
    check: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Profile:
    """One profile of the plan."""

    backend: str
    precision: str
    threads: Threads
    plan: dict[str, Any]
    header: dict[str, Any]
    streams: Streams = 1


@dataclass(frozen=True, slots=True)
class _Plan:
    """The plan, without what only the board needs."""

    format: str
    space: SpaceKey
    batch: Batch
    seed: Seed
    profiles: tuple[_Profile, ...]
    blocks: tuple[str, ...]
    levels: tuple[_Level, ...]


@dataclass(frozen=True, slots=True)
class _Ended:
    """What the board says of a profile beside its journal; see `MeasurementProtocol`."""

    rounds: tuple[Count, ...]
    stopped_by: Literal["settled", "rounds", "time"]
    redone_visits: Count
    extended_s: AtLeastZero
    built_s: AtLeastZero
    launches: LaunchSummary | None
    not_captured: str
    at_start: dict[str, str]
    at_end: dict[str, str]


@dataclass(frozen=True, slots=True)
class _Result:
    """`result.json`: the hash of the plan, and each profile by its number."""

    format: str
    bundle: str
    profiles: dict[str, dict[str, Any]]


@dataclass(frozen=True, slots=True)
class _Header:
    """What of a journal's header the board says itself."""

    conditions: Conditions
    environment: dict[str, str]
    clocks: dict[str, str] = field(default_factory=dict)


def import_result(
    path: Path,
    *,
    name: str = "",
    out: Path | None = None,
    overwrite: bool = False,
    on_note: OnNote = no_note,
) -> tuple[StoredTable, ...]:
    """Make the tables of a result, and store them (or write them into `out`); `name` is that of the board.

    FileFormatError names what in the file is not as it should be, TableMismatchError says that another
    version made it, OverwriteError that a table is there, MeasurementError that nothing trustworthy came out.
    Nothing is written then.
    """
    made = []
    for table in tables_of(path, name=name, on_note=on_note):
        assert table.conditions is not None
        assert table.space is not None
        place = store.latency_path(table.conditions, table.space, table.power_mode, out)
        refuse_file(place, overwrite=overwrite)
        made.append(StoredTable(place, table))
    for stored in made:
        write_latency_table(stored.table, stored.path, overwrite=overwrite)
    return tuple(made)


def tables_of(path: Path, *, name: str = "", on_note: OnNote = no_note) -> tuple[LatencyTable, ...]:
    """The tables of a result, each certified on the networks that were timed on the board."""
    with _Archive(path) as members:
        text = members.read(PLAN)
        sha = sha256(text).hexdigest()
        plan = _checked_plan(_json(text, path / PLAN), path / PLAN)
        found = bounded(_json(members.read(RESULT), path / RESULT), path, RESULT)
        result = converted(found, _Result, path / RESULT)
        if result.format != RESULT_FORMAT:
            raise FileFormatError(path / RESULT, "format", f"is {result.format}, expected {RESULT_FORMAT}.")
        if result.bundle != sha:
            raise FileFormatError(path, RESULT, "is the result of another plan than the one beside it.")
        if set(result.profiles) != {str(number) for number in range(len(plan.profiles))}:
            raise FileFormatError(path / RESULT, "profiles", "are others than the plan has.")
        space = build_space(plan.space.name, plan.space.resolution, plan.space.classes)
        found = []
        for number, asked in enumerate(plan.profiles):
            ended = result.profiles[str(number)]
            if "failed" in ended:
                why = str(ended["failed"])[:_MOST_TEXT]
                on_note(f"{asked.backend} {asked.precision}".rstrip() + f" was left out on the board: {why}")
                continue
            place = path / journal_name(number)
            journal = _journal(members.read(journal_name(number)), place)
            header = _checked_header(next(journal), plan, asked, sha, place)
            found.append(_table(space, plan, asked, header, ended, journal, path / RESULT, place, name))
    if not found:
        raise FileFormatError(path, "", "holds no profile that ended: run the archive on the board again.")
    return tuple(found)


def _table(
    space: Space,
    plan: _Plan,
    asked: _Profile,
    header: _Header,
    ended: Mapping[str, Any],
    journal: Iterator[Line],
    where: Path,
    place: Path,
    name: str,
) -> LatencyTable:
    """The table of one profile, by the way that every profile goes at its end."""
    known = {one.name for one in fields(_Ended)}
    said = converted({key: value for key, value in ended.items() if key in known}, _Ended, where)
    for texts in (said.at_start, said.at_end, {"not_captured": said.not_captured}):
        _refuse_long(texts, where)
    protocol = Plan(**asked.plan)
    previous = previous_of(journal)
    networks = _checked_networks(previous, space, plan, protocol, place)
    device = slug(name or header.conditions.device)
    if not device:
        raise FileFormatError(place, "conditions.device", "is no name: give one with --name.")
    table = assemble(
        space,
        replace(header.conditions, device=device),
        previous.samples,
        networks,
        protocol,
        environment=tuple(header.environment.items()),
        protocol=MeasurementProtocol(
            plan=protocol.numbers(),
            seed=plan.seed,
            weights=WEIGHTS,
            rounds=said.rounds,
            stopped_by=said.stopped_by,
            redone_visits=said.redone_visits,
            builds=BuildSummary(said.built_s),
            launches=said.launches,
            not_captured=said.not_captured,
            at_start=said.at_start,
            at_end=said.at_end,
            interference=InterferenceSummary.of(previous.rounds),
            extended_s=said.extended_s,
        ),
    )
    return replace(table, rounds=previous.rounds)


def _checked_plan(document: Any, path: Path) -> _Plan:
    """The plan, which must be one that this version makes."""
    wanted = {one.name for one in fields(_Plan)}
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise FileFormatError(path, "format", f"is not {FORMAT}.")
    plan = converted({key: value for key, value in document.items() if key in wanted}, _Plan, path)
    if not 0 < len(plan.profiles) <= _MOST_PROFILES:
        raise FileFormatError(path, "profiles", f"are {len(plan.profiles)}, expected 1 to {_MOST_PROFILES}.")
    space = build_space(plan.space.name, plan.space.resolution, plan.space.classes)
    if SpaceKey.of(space) != plan.space:
        raise TableMismatchError(f"{path}: space '{plan.space.name}' is another one here: make a new bundle.")
    for asked in plan.profiles:
        if asked.backend not in board_runtimes():
            raise FileFormatError(path, "backend", f"is {asked.backend}, no runtime of a board.")
        ours = profile_of(plan.space, asked.backend, asked.precision, asked.threads, plan.seed, asked.streams)
        if json.loads(json.dumps(ours)) != asdict(asked):
            raise TableMismatchError(
                f"{path}: {asked.backend} was measured by another protocol than this version's: make a new"
                " bundle."
            )
    if plan.blocks != tuple(blocks_of(space)):
        raise FileFormatError(path, "blocks", f"are others than space '{plan.space.name}' has.")
    return plan


def _checked_header(line: Line, plan: _Plan, asked: _Profile, sha: str, path: Path) -> _Header:
    """What the board says of itself, where all else in a journal's header is as the plan asked for."""
    kept = {one.name for one in fields(_Header)}
    said = {key: value for key, value in line.data.items() if key in kept}
    header = converted(said, _Header, path, "line 1")
    rest = {key: value for key, value in line.data.items() if key not in kept}
    if rest.get("bundle") != sha:
        raise FileFormatError(path, "line 1, bundle", "names another plan than the one beside it.")
    if rest != {**asked.header, "bundle": sha}:
        raise FileFormatError(path, "line 1", "says that something else was measured than the plan asks for.")
    found = header.conditions
    precision = asked.precision or found.precision
    if found != Conditions(found.device, asked.backend, precision, asked.threads, plan.batch, asked.streams):
        raise FileFormatError(path, "line 1, conditions", "are others than the plan asks for.")
    if not re.fullmatch("[a-z0-9]{2,16}", found.precision):
        raise FileFormatError(path, "line 1, conditions.precision", "is none.")
    _refuse_long({**header.environment, "device": found.device}, path)
    _refuse_long(header.clocks, path)
    return header


def _checked_networks(
    previous: Previous, space: Space, plan: _Plan, protocol: Plan, path: Path
) -> NetworkSplit:
    """The networks that were timed: a group of the plan's, all of them and all blocks often enough."""
    chosen, samples = previous.networks, previous.samples
    if chosen is None or _Level(chosen.fit, chosen.check) not in plan.levels:
        raise FileFormatError(path, "", "holds other networks than a group of the plan's.")
    enough = LEAST_FIT <= len(chosen.fit) <= MOST_FIT and LEAST_CHECK <= len(chosen.check) <= MOST_CHECK
    if not enough and only_network(space) is None:
        raise FileFormatError(path, "", "holds more or fewer networks than any plan has.")
    texts = (*chosen.fit, *chosen.check)
    if len(set(texts)) != len(texts):
        raise FileFormatError(path, "", "holds a network twice.")
    for text in texts:
        Architecture.from_text(space, text)
    wanted = [*blocks_of(space), *texts]
    if unasked := samples.rounds.keys() - set(wanted):
        raise FileFormatError(path, "", f"times {min(unasked)!r}, which the plan does not ask for.")
    for key in wanted:
        if len(samples.rounds.get(key, ())) < protocol.floor_rounds:
            raise FileFormatError(
                path,
                "",
                f"has too few rounds of {key}: run the archive on the board again, it goes on from there.",
            )
    for key, rounds in samples.rounds.items():
        times = all(_LEAST_RUN_NS <= run_ns <= _MOST_RUN_NS for run_ns in rounds.values())
        if not times or max(rounds) > _MOST_ROUND or samples.runs[key] > _MOST_RUNS:
            raise FileFormatError(path, "", f"says of {key} what no clock says.")
    return chosen


def _refuse_long(texts: Mapping[str, str], path: Path) -> None:
    if len(texts) > _MOST_NAMES or any(len(text) > _MOST_TEXT for pair in texts.items() for text in pair):
        raise FileFormatError(path, "", "holds more text about the board than there is to say.")


def _json(data: bytes, path: Path) -> Any:
    try:
        return parse(data.decode(), path)
    except UnicodeDecodeError as error:
        raise FileFormatError(path, f"byte {error.start}", "is not text.") from error


def _journal(data: bytes, path: Path) -> Iterator[Line]:
    """The lines of a journal that end, the header first."""
    lines = data.split(b"\n")[:-1]
    if not lines:
        raise FileFormatError(path, "", "is empty.")
    for number, line in enumerate(lines, start=1):
        try:
            value = parse(line.decode(), path, f"line {number}")
        except UnicodeDecodeError as error:
            raise FileFormatError(path, f"line {number}", "is not text.") from error
        if not isinstance(value, dict):
            raise FileFormatError(path, f"line {number}", "is no entry.")
        yield Line(path, number, bounded(value, path, f"line {number}"))


class _Archive:
    """The members of a result, by name; FileFormatError for an archive that holds anything else."""

    def __init__(self, path: Path) -> None:
        check_regular(path, MOST_RESULT_BYTES)
        self._path = path
        try:
            self._archive = ZipFile(path)
        except (BadZipFile, OSError, ValueError, NotImplementedError) as error:
            raise self._broken(error) from error
        try:
            for member in self._archive.infolist():
                self._check(member)
        except BaseException:
            self._archive.close()
            raise

    def __enter__(self) -> _Archive:
        return self

    def __exit__(self, *error: object) -> None:
        self._archive.close()

    def read(self, name: str) -> bytes:
        """A member, up to the bound whatever its header says."""
        try:
            with self._archive.open(name) as file:
                data = file.read(_MOST_MEMBER_BYTES + 1)
        except KeyError as error:
            raise FileFormatError(self._path, name, "is not in it: bring the whole file.") from error
        except (BadZipFile, zlib.error, EOFError, OSError, RuntimeError, NotImplementedError) as error:
            raise self._broken(error) from error
        if len(data) > _MOST_MEMBER_BYTES:
            raise self._too_large(name)
        return data

    def _check(self, member: ZipInfo) -> None:
        name, mode = member.filename, member.external_attr >> 16
        ours = name in (PLAN, RESULT) or re.fullmatch(r"[0-9]{1,2}\.journal", name)
        twice = sum(other.filename == name for other in self._archive.infolist()) > 1
        if not ours or twice:
            raise FileFormatError(self._path, "", f"holds {name!r}, which no result holds{' twice' * twice}.")
        if stat.S_IFMT(mode) not in (0, stat.S_IFREG) or member.flag_bits & _ENCRYPTED:
            raise FileFormatError(self._path, name, "is no plain file.")
        if member.file_size > _MOST_MEMBER_BYTES:
            raise self._too_large(name)

    def _too_large(self, name: str) -> PonasError:
        return FileFormatError(self._path, name, f"has more than {_MOST_MEMBER_BYTES >> 20} MiB.")

    def _broken(self, error: Exception) -> PonasError:
        return FileFormatError(
            self._path, "", f"is no result of a bundle, or not all of it ({error}): bring the file again."
        )
