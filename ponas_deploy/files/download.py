"""A file from the web: resumed where a transfer broke, checked, and put in place whole or not at all.

What came so far lies beside the target as `NAME.part`, with the mark (ETag) of the file that it is of in
`NAME.part.tag`; without such a mark a transfer begins again. The SHA-256 of what is in place stands in
`NAME.sha256`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from typing import BinaryIO
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

from ponas_deploy.errors import FileFormatError, PonasError, printable
from ponas_deploy.files.lock import lock
from ponas_deploy.files.notes import Advance
from ponas_deploy.files.opening import MIB, make_folder, read_text
from ponas_deploy.files.records import sha256, write_bytes

MOST_BYTES = 1024 * MIB
_TIMEOUT_S, _CHUNK = 30.0, 1 << 18
_PARTIAL, _NOT_THERE = 206, 416


@dataclass(frozen=True, slots=True)
class Remote:
    """A file on the web; its size and SHA-256 are None where they are not known."""

    url: str
    bytes: int | None = None
    sha256: str | None = None

    @property
    def name(self) -> str:
        """The last part of its address."""
        return self.url.rpartition("/")[2]


def downloaded(remote: Remote, folder: Path) -> str:
    """The SHA-256 of the file in `folder`, where it is as it came; empty otherwise."""
    target = folder / remote.name
    if not target.is_file():
        return ""
    try:
        recorded = read_text(_beside(target, ".sha256")).strip()
    except FileFormatError:
        return ""
    expected = remote.sha256 or recorded
    return expected if sha256(target) == expected else ""


def download(remote: Remote, folder: Path, check: Callable[[Path], object], advance: Advance) -> Path:
    """The file in `folder`; fetched where it is not there yet, by `advance` in MiB.

    PonasError for a transfer that breaks (what came is kept, and the next call goes on), an answer that is no
    file, or one of another size or SHA-256; then, and where `check` raises an error, nothing is put in place.
    """
    target = folder / remote.name
    if downloaded(remote, folder):
        return target
    part = _beside(target, ".part")
    with _opened(part) as file:
        _transfer(remote, part, file, advance)
        _accept(remote, part, check)
        found = sha256(part)
        write_bytes(_beside(target, ".sha256"), f"{found}\n".encode(), overwrite=True)
        os.replace(part, target)
    _beside(part, ".tag").unlink(missing_ok=True)
    return target


def _beside(path: Path, ending: str) -> Path:
    return path.with_name(path.name + ending)


@contextmanager
def _opened(part: Path) -> Iterator[BinaryIO]:
    """What came so far, to be written on, by one process at a time."""
    try:
        make_folder(part.parent)
        with part.open("ab") as file:
            if not lock(file.fileno()):
                raise PonasError(f"{part} is being downloaded by another process: wait for it.")
            try:
                yield file
            finally:
                if part.is_file() and not part.stat().st_size:
                    part.unlink()
    except OSError as error:
        raise PonasError(f"{part} cannot be written: {error.strerror or error}.") from error


def _transfer(remote: Remote, part: Path, file: BinaryIO, advance: Advance) -> None:
    tag = _tag(part)
    start = part.stat().st_size if tag else 0
    with _answer(remote, start, tag) as answer:
        if answer.status != _PARTIAL:
            start = 0
        file.truncate(start)
        total = start + int(answer.headers.get("Content-Length") or 0)
        if total > MOST_BYTES:
            raise PonasError(
                f"{remote.url} has {total / MIB:.0f} MiB, more than are read: it is another file."
            )
        if mark := answer.headers.get("ETag", ""):
            write_bytes(_beside(part, ".tag"), mark.encode(), overwrite=True)
        done = start
        for chunk in _chunks(remote, answer):
            file.write(chunk)
            done += len(chunk)
            if done > MOST_BYTES:
                raise PonasError(f"{remote.url} does not end: it is another file.")
            advance(done // MIB, max(total, done) // MIB, f"downloading {remote.name} (MiB)")
        file.flush()
    if done < total:
        raise _broken(remote, f"ended after {done:,} of {total:,} bytes")


def _tag(part: Path) -> str:
    """The mark of the file that a part is of; empty where it is not known. Weak marks promise no bytes."""
    try:
        text = read_text(_beside(part, ".tag"))
    except FileFormatError:
        return ""
    return text if text.startswith('"') and text.isprintable() else ""


def _answer(remote: Remote, start: int, tag: str) -> HTTPResponse:
    resumed = {"Range": f"bytes={start}-", "If-Range": tag} if start else {}
    try:
        answer = urlopen(Request(remote.url, headers=resumed), timeout=_TIMEOUT_S)
    except HTTPError as error:
        error.close()
        if error.code == _NOT_THERE and start:  # all of it came, and was not put in place
            return _answer(remote, 0, "")
        raise PonasError(
            f"{remote.url} cannot be had: the server answers {error.code} {printable(error.reason)}."
        ) from error
    except (URLError, OSError, HTTPException) as error:
        reason = printable(str(error.reason if isinstance(error, URLError) else error))
        raise _broken(remote, f"cannot be reached ({reason})") from error
    if not isinstance(answer, HTTPResponse):
        raise PonasError(f"{remote.url} is no address on the web.")
    return answer


def _chunks(remote: Remote, answer: HTTPResponse) -> Iterator[bytes]:
    while True:
        try:
            chunk = answer.read(_CHUNK)
        except (OSError, HTTPException) as error:
            raise _broken(remote, f"broke off ({printable(str(error))})") from error
        if not chunk:
            return
        yield chunk


def _broken(remote: Remote, what: str) -> PonasError:
    return PonasError(f"{remote.url} {what}: give the same command again, it goes on where it was.")


def _accept(remote: Remote, part: Path, check: Callable[[Path], object]) -> None:
    """PonasError for what is not the file, which is removed: to resume it would not mend it."""
    found, size = sha256(part), part.stat().st_size
    try:
        if remote.bytes not in (None, size):
            raise PonasError(f"{remote.url} has {size:,} bytes, expected {remote.bytes:,}: nothing was kept.")
        if remote.sha256 not in (None, found):
            raise PonasError(
                f"{remote.url} has SHA-256 {found}, expected {remote.sha256}: it is another file, or was"
                " changed on the way; nothing was kept."
            )
        check(part)
    except PonasError as error:
        part.unlink()
        _beside(part, ".tag").unlink(missing_ok=True)
        if isinstance(error, FileFormatError):
            raise PonasError(f"{remote.url} {error.reason} Nothing was kept.") from error
        raise
