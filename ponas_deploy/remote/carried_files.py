"""Files of a carried plan, on the board: what the archive holds, journals, and what is written there.

Nothing here depends on the clock: a board's may stand at 1970, which no archive can hold.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO, Iterator, Mapping
from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo

from ponas_deploy.errors import PonasError
from ponas_deploy.measuring.protocol import Samples
from ponas_deploy.tables.rounds import Round

PLAN, RESULT, BLOBS = "bundle.json", "result.json", "blobs/"
FORMAT, RESULT_FORMAT = "ponas.bundle/1", "ponas.bundle-result/1"
_DATE = (1980, 1, 1, 0, 0, 0)
"""The first that an archive can have."""


def journal_name(number: int) -> str:
    """The name of the journal of a profile, by its number in the plan."""
    return f"{number}.journal"


@dataclass(frozen=True)
class Plan:
    """A plan as it was read: its document, and its SHA-256."""

    text: bytes
    sha: str
    document: Mapping[str, Any]

    @classmethod
    def of(cls, text: bytes) -> Plan:
        """Read one that this version wrote; PonasError for another."""
        document = json.loads(text.decode())
        if document.get("format") != FORMAT:
            raise PonasError(f"the plan in this archive is no {FORMAT}: make the archive again.")
        return cls(text, hashlib.sha256(text).hexdigest(), document)


def add(archive: ZipFile, name: str, content: bytes, level: int = 6) -> None:
    """Add a member that is the same on every machine, whatever its clock says."""
    entry = ZipInfo(name, _DATE)
    entry.compress_type, entry.create_system, entry.external_attr = ZIP_DEFLATED, 3, 0o644 << 16
    archive.writestr(entry, content, compresslevel=level)


def whole(path: Path, content: bytes) -> None:
    """Write a file whole or not at all."""
    new = path.with_name(f"{path.name}.new")
    with open(new, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    os.replace(str(new), str(path))


class Files:
    """The files of an archive, or of the folder that it was unpacked to."""

    def __init__(self, place: Path) -> None:
        self._archive = None if place.is_dir() else ZipFile(str(place))
        self._place = place

    def __enter__(self) -> Files:
        return self

    def __exit__(self, *error: object) -> None:
        if self._archive:
            self._archive.close()

    def read(self, name: str) -> bytes:
        """One of them."""
        return self._archive.read(name) if self._archive else (self._place / name).read_bytes()

    def unpack(self, folder: Path) -> None:
        """Put the blobs where `State` looks for them; it compares each with its hash."""
        (folder / BLOBS).mkdir(exist_ok=True)
        for name in self._blobs():
            if not (folder / BLOBS / name).exists():
                whole(folder / BLOBS / name, self.read(BLOBS + name))

    def _blobs(self) -> Iterator[str]:
        if self._archive:
            names: list[str] = self._archive.namelist()
        else:
            names = [BLOBS + path.name for path in (self._place / BLOBS).iterdir()]
        return (name[len(BLOBS) :] for name in names if re.fullmatch(BLOBS + "[0-9a-f]{64}", name))


class Journal:
    """The journal of a profile, as `files.journal` reads it; what an earlier run left in it.

    One of another measurement (another version of a runtime, ...) is set aside.
    """

    def __init__(self, path: Path, header: Mapping[str, Any]) -> None:
        self.samples = Samples()
        self.rounds: list[Round] = []
        self.networks: Mapping[str, Any] | None = None
        lines, size = _whole_lines(path)
        if lines and lines[0] != json.loads(json.dumps(header)):
            os.replace(str(path), str(_aside(path)))
            lines, size = [], 0
        self.resumed = bool(lines)
        for line in lines[1:]:
            self._take_up(line)
        self._file: BinaryIO = open(path, "ab", buffering=0)  # noqa: SIM115 (open while this lives)
        self._file.truncate(size)
        if not lines:
            self.append(header)

    def _take_up(self, line: Mapping[str, Any]) -> None:
        if "fit" in line:
            self.networks = line
        elif "interference" in line:
            one = line["interference"]
            self.rounds.append(Round(**dict(one, held=tuple(one["held"]))))
        else:
            self.samples.add(line["key"], line["round"], line["runs"], line["ns"])

    def sample(self, key: str, number: int, runs: int, run_ns: float) -> None:
        """Keep a sample."""
        self.append({"key": key, "round": number, "runs": runs, "ns": run_ns})

    def round(self, one: Round) -> None:
        """Keep a round's interference; all before it is on the disk then."""
        self.append({"interference": asdict(one)})
        os.fsync(self._file.fileno())

    def append(self, line: Mapping[str, Any]) -> None:
        """Keep a line, which survives the end of this process."""
        text = json.dumps(line, allow_nan=False).encode() + b"\n"
        while text:
            text = text[self._file.write(text) :]

    def close(self) -> None:
        """Onto the disk."""
        os.fsync(self._file.fileno())
        self._file.close()


def _whole_lines(path: Path) -> tuple[list[dict[str, Any]], int]:
    """The lines that end, and the bytes they have; a kill or a power cut leaves the last ones cut short."""
    found: list[dict[str, Any]] = []
    size = 0
    if path.exists():
        for line in path.read_bytes().split(b"\n")[:-1]:
            try:
                found.append(json.loads(line.decode()))
            except ValueError:
                break
            size += len(line) + 1
    return found, size


def _aside(path: Path) -> Path:
    number = 1
    while (aside := path.with_name(f"{path.name}.old-{number}")).exists():
        number += 1
    return aside
