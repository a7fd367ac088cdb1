"""What the steps of a job have between them, on the board: its files, and whatever they keep open."""

from __future__ import annotations

import hashlib
import os
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Iterator

from ponas_deploy.boards.runner import RefusedError, checked_sha, keep, make_room, sentence
from ponas_deploy.errors import PonasError

_PIECE = 1 << 20


class State:
    """It lives as long as the worker. `folder` is the job's own; `values` and `stack` are for the steps.

    What a step enters in `stack` (sessions) is left when the worker has nothing more to do.
    """

    def __init__(self, folder: Path, private: Path) -> None:
        self.folder = folder
        self.values: dict[str, Any] = {}
        self.stack = ExitStack()
        self._private = private
        self._checked: set[str] = set()

    def blob(self, sha: str) -> Path:
        """Where a file that was sent or kept lies; PonasError where it is not there or no longer itself."""
        path = self._private / "blobs" / checked_sha(sha)
        try:
            os.utime(path)
            if sha not in self._checked and _sha_of(path) != sha:  # the board was switched off meanwhile
                path.unlink()
                raise PonasError(
                    f"file {sha[:12]} was damaged on the board: start again, and it is sent again."
                )
        except FileNotFoundError:
            raise PonasError(f"file {sha[:12]} is not on the board (any more): start again.") from None
        self._checked.add(sha)
        return path

    def keep(self, contents: bytes | Path) -> str:
        """Keep a file for whoever asks for its SHA-256; PonasError where there is no room."""
        size = len(contents) if isinstance(contents, bytes) else contents.stat().st_size
        try:
            make_room(str(self._private), size)
            pieces = iter((contents,)) if isinstance(contents, bytes) else _pieces(contents)
            return keep(str(self._private), pieces)
        except (RefusedError, OSError) as error:
            raise PonasError(f"{sentence(error, str(self._private))}.") from error


def _sha_of(path: Path) -> str:
    digest = hashlib.sha256()
    for piece in _pieces(path):
        digest.update(piece)
    return digest.hexdigest()


def _pieces(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while piece := file.read(_PIECE):
            yield piece
