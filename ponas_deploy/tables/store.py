"""Where tables lie and how they are found: the user's own store, then the tables shipped in `profiles/`.

Latency tables lie anywhere below `latency/`, accuracy tables are `accuracy/<name>.json`. What a latency table
is a table of stands in the file, not in its name: one made elsewhere may be copied in under any name.
The user's store is `$PONAS_HOME`, or the platform's data folder.
"""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass, replace
from pathlib import Path

from ponas_deploy.errors import PonasError, TableMismatchError, UnknownNameError
from ponas_deploy.files.home import home
from ponas_deploy.files.notes import OnNote, no_note
from ponas_deploy.files.opening import check_regular
from ponas_deploy.machines.names import slug
from ponas_deploy.tables.accuracy import AccuracyTable
from ponas_deploy.tables.files import load_accuracy_table, load_latency_table
from ponas_deploy.tables.grid import SpaceKey
from ponas_deploy.tables.latency import Conditions, LatencyTable

SHIPPED = Path(__file__).resolve().parents[2] / "profiles"
_MOST_MODE = 32
"""No more letters of a power mode stand in a file's name."""


@dataclass(frozen=True, slots=True)
class StoredTable:
    """A latency table with conditions, and the file it came from."""

    path: Path
    table: LatencyTable
    kind: str = "latency"

    @property
    def name(self) -> str:
        """What `find_table` finds it by: `jetson/onnxruntime-fp32-t1-b1-ponas-224px-1000c`."""
        return f"{self.path.parent.name}/{self.path.stem}"

    @property
    def device(self) -> str:
        """The name its device is asked for by."""
        return slug(self.conditions.device)

    @property
    def shipped(self) -> bool:
        """Whether it came with the package, measured on somebody else's machine."""
        return SHIPPED in self.path.parents

    @property
    def conditions(self) -> Conditions:
        """What its latencies are latencies of; TableMismatchError for a table that does not say."""
        if self.table.conditions is None:
            raise TableMismatchError(
                f"{self.path} names no device and no runtime: an engine cannot be emitted from it."
            )
        return self.table.conditions

    @property
    def made_on(self) -> str:
        """One line for people: what it was measured on, and how well it predicts."""
        certificate = self.table.certificate
        quality = self.table.estimated or (
            f"predicts unseen networks to {certificate.mean_error_pct:.1f} % on average,"
            f" {certificate.worst_error_pct:.1f} % at worst, tau {certificate.kendall_tau:.2f}"
            f" (noise floor {certificate.noise_floor_pct:.1f} %)"
            if certificate
            else "no certificate"
        )
        return f"{self.conditions.text}, {self.table.created}: {quality}"


@dataclass(frozen=True, slots=True)
class StoredAccuracy:
    """An accuracy table and the file it came from."""

    path: Path
    table: AccuracyTable
    kind: str = "accuracy"

    @property
    def made_on(self) -> str:
        """One line for people: what it was made on, and how well it ranks networks."""
        origin, certificate = self.table.origin, self.table.certificate
        made = origin.text if origin else "origin not known"
        return f"{made}: {certificate.text if certificate else 'no certificate'}"


def latency_path(
    conditions: Conditions, space: SpaceKey, power_mode: str = "", folder: Path | None = None
) -> Path:
    """Where the table of these conditions lies in the user's store, or in `folder`: one path a power mode.

    Older versions left the mode out of the name. A table that lies there stays there where it is of this mode
    or does not say of which, and so does the journal of one that was interrupted.
    """
    folder = folder or home() / "latency" / slug(conditions.device)
    path = folder / (
        f"{conditions.backend}-{conditions.precision}-t{conditions.threads}-b{conditions.batch}"
        f"{f'-s{conditions.streams}' if conditions.streams > 1 else ''}"
        f"-{space.name}-{space.resolution}px-{space.classes}c.json"
    )
    mode = slug(power_mode)[:_MOST_MODE]
    return path.with_name(f"{path.stem}-{mode}.json") if mode and not _is_of(path, power_mode) else path


def _is_of(path: Path, power_mode: str) -> bool:
    """Whether a table of this power mode lies at a path that does not name it, or begins to."""
    if not path.exists():
        return path.with_suffix(".journal").exists()
    try:
        return load_latency_table(path).power_mode in ("", power_mode)
    except PonasError:  # what cannot be read is of no mode
        return False


def lock_path() -> Path:
    """The lock of whoever measures this machine; machines may share a store."""
    return home() / f"measuring-{slug(platform.node()) or 'here'}.lock"


def latency_tables(*, shipped: bool = True) -> tuple[tuple[StoredTable, ...], tuple[PonasError, ...]]:
    """Every latency table with conditions, by what is in the files; the user's own hide shipped ones.

    One of each power mode. Beside them the errors of those files that cannot be read. Without `shipped` only
    the user's own are read.
    """
    found: dict[tuple[Conditions, SpaceKey, str], StoredTable] = {}
    problems = []
    for root in (home(), SHIPPED) if shipped else (home(),):
        own = {key[:2] for key in found}
        for path in sorted((root / "latency").rglob("*.json")):
            try:
                table = load_latency_table(path)
            except PonasError as error:
                problems.append(error)
                continue
            if table.conditions is not None and table.space is not None:
                named = replace(table.conditions, device=slug(table.conditions.device))
                if (named, table.space) not in own:
                    found.setdefault((named, table.space, table.power_mode), StoredTable(path, table))
    return tuple(found.values()), tuple(problems)


def latency_table(name: str, on_note: OnNote = no_note) -> StoredTable:
    """The latency table of a path or a name; `on_note` as of `load_latency_table`."""
    path = find_table(name)
    return StoredTable(path, load_latency_table(path, on_note))


def accuracy_table(name: str, on_note: OnNote = no_note) -> StoredAccuracy:
    """The accuracy table of a path or a name; the default of a space is named after it."""
    path = find_table(name)
    return StoredAccuracy(path, load_accuracy_table(path, on_note))


def own_accuracy_table(space: str, on_note: OnNote = no_note) -> StoredAccuracy:
    """The accuracy table of a space, by its name; PonasError says what to do for a space without one."""
    try:
        path = find_table(f"accuracy/{space}")
    except UnknownNameError as error:
        raise PonasError(
            f"space '{space}' has no accuracy table of its own: name one with --accuracy-table. `ponas table"
            " fit` makes one of networks that were evaluated: a column a layer, and `top1_pct`."
        ) from error
    return StoredAccuracy(path, load_accuracy_table(path, on_note))


def table_names(kind: str) -> tuple[str, ...]:
    """What `find_table` finds the tables of a kind by ("latency" or "accuracy"), by name.

    The files are not read: some may be no tables.
    """
    return tuple(sorted(short.partition("/")[2] for short in _files() if short.startswith(f"{kind}/")))


def _files() -> dict[str, Path]:
    """Every file of both stores by its place there: the user's own hides a shipped one."""
    return {
        path.relative_to(root).with_suffix("").as_posix(): path
        for root in (SHIPPED, home())
        for path in sorted(root.glob("*/**/*.json"))
    }


def find_table(name: str) -> Path:
    """The file of a table, given by its path or by its name in a store without the ending.

    `jetson/onnxruntime-fp32-t1-b1-ponas-224px-1000c` and `ponas-digits` are such names.
    UnknownNameError lists the names that exist, FileFormatError says what is there and is no file.
    """
    files = _files()
    known = {short.partition("/")[2]: path for short, path in files.items()} | files
    hidden = name in known and os.path.isdir(name)  # a folder that is called as the table is
    if (os.path.exists(name) and not hidden) or name.endswith((".json", ".csv", ".tsv")):
        check_regular(Path(name))
        return Path(name)
    if name not in known:
        raise UnknownNameError(
            "table", name, (key for key in known if key.startswith(("latency/", "accuracy/")))
        )
    return known[name]
