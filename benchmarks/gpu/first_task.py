"""What a step of `first.py` is given in its process: a folder, a time, and what it keeps as it goes."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import psutil

from benchmarks.gpu.children import last_line, run_child, write_document
from ponas_deploy.backends import Backend, Session, get_backend
from ponas_deploy.errors import BackendError, PonasError
from ponas_deploy.files.journal import Journal
from searchspace import Architecture, build_space, parse_architecture
from searchspace.cost import cost_table, count_macs
from searchspace.space import Space

RESULT = "result.json"
NETWORK = "PONAS-A"
_SAVING_SHARE = 0.9
"""Of its time a step plans with; the rest is for ending in order."""


class MissingError(Exception):
    """A step that cannot be run here, with what is missing."""


class StepError(PonasError):
    """A step that failed, in one sentence."""


class LateError(StepError):
    """Something that was stopped because its time was over."""


@dataclass
class Task:
    """One step: `folder` is its own, `out` that of all steps. What is in `kept` is in its result file."""

    out: Path
    folder: Path
    seconds: float
    resolution: int
    started: float = field(default_factory=lambda: time.monotonic() - _age_s())
    kept: dict[str, Any] = field(default_factory=dict)

    @property
    def left_s(self) -> float:
        """Seconds that are left for more work."""
        return self.started + _SAVING_SHARE * self.seconds - time.monotonic()

    @property
    def space(self) -> Space:
        return build_space("ponas", self.resolution)

    @property
    def network(self) -> Architecture:
        """The network that single measurements are made with."""
        return parse_architecture(NETWORK, self.space)

    def keep(self, **values: Any) -> None:
        """Add to the result, which is on disk at once; `summary` is what the table says."""
        self.kept.update(values)
        write_document(self.folder / RESULT, self.kept)

    def each(self, keys: Iterable[str], work: Callable[[str], dict[str, Any]]) -> list[dict[str, Any]]:
        """What `work` finds for each key, while there is time: rows with it, or with its error.

        Every row is written at once; those of an earlier run are taken from there, errors are tried again.
        Where the time is over, `unfinished` is kept; what was stopped by it has no row.
        """
        wanted, late = list(keys), list[str]()
        with Journal(self.folder / "rows.jsonl", {"step": self.folder.name, "px": self.resolution}) as book:
            rows = {row["key"]: row for row in book.entries if "error" not in row}
            for key in wanted:
                if key in rows:
                    continue
                if self.left_s <= 0:
                    break
                try:
                    rows[key] = {"key": key, **_tried(work, key)}
                except LateError as error:
                    late.append(str(error))
                    continue
                book.append(rows[key])
        found = [rows[key] for key in wanted if key in rows]
        if len(found) < len(wanted):
            done = f"{len(found)} of {len(wanted)} in {self.seconds:.0f} s; the same command goes on"
            self.keep(unfinished="; ".join((done, *late)))
        return found

    def finish(self, summary: str, rows: list[dict[str, Any]], **values: Any) -> None:
        """Keep the rows and the line of the table; a StepError where there is no row without an error."""
        errors = [row["error"] for row in rows if "error" in row]
        if errors:
            summary = f"{summary}; {len(errors)} of {len(rows)} failed, the first: {errors[0]}".lstrip("; ")
        self.keep(summary=summary, rows=rows, **values)
        if len(errors) == len(rows):
            raise StepError(errors[0] if errors else "there was no time for anything")

    def run(self, name: str, command: Sequence[str], seconds: float, accepted: Sequence[int] = (0,)) -> str:
        """What a command printed, kept as NAME.txt; StepError with its last line where it failed."""
        log, errors = self.folder / f"{name}.txt", self.folder / f"{name}.errors.txt"
        with log.open("w") as printed, errors.open("w") as said:
            # In the session of this process: whoever ends the step ends it too.
            ended = run_child(command, seconds, stdout=printed, stderr=said, start_new_session=False)
        text = log.read_text(errors="replace")
        if ended.code not in accepted:
            reason = last_line(errors.read_text(errors="replace")) or last_line(text)
            error = LateError if ended.code is None else StepError
            raise error(f"{name} {ended.fault}: {reason}".rstrip(": "))
        return text

    def run_json(
        self, name: str, command: Sequence[str], seconds: float, accepted: Sequence[int] = (0,)
    ) -> Any:
        """The document that the last line of a command, or all of what it printed, is."""
        text = self.run(name, command, seconds, accepted)
        try:
            return json.loads(text if text.startswith("{") else last_line_of(text))
        except ValueError as error:
            said = last_line((self.folder / f"{name}.errors.txt").read_text(errors="replace"))
            raise StepError(f"{name} printed no JSON: {said}".rstrip(": ")) from error


def _age_s() -> float:
    """Seconds since this process was started, imports included."""
    return time.time() - psutil.Process().create_time()


def last_line_of(text: str) -> str:
    """The last line of a text, whole."""
    return (text.strip().splitlines() or [""])[-1]


def _tried(work: Callable[[str], dict[str, Any]], key: str) -> dict[str, Any]:
    try:
        return work(key)
    except LateError:
        raise
    except PonasError as error:
        return {"error": str(error)[:500]}
    except Exception as error:  # one of many: the others go on
        return {"error": f"{type(error).__name__}: {error}"[:500]}


def backend_or_skip(name: str) -> Backend:
    """A runtime that may be missing."""
    try:
        return get_backend(name)
    except BackendError as error:
        raise MissingError(str(error)) from error


def samples_us(session: Session, runs: int, times: int = 5) -> float:
    """Microseconds a run, the median of some samples of so many runs."""
    return median(session.time_ns(runs) / runs for _ in range(times)) / 1e3


def smallest_block(space: Space) -> str:
    """The key of the cell with the fewest MACs, which is the one that launches weigh most in."""
    _, macs = cost_table(count_macs, space)
    places = ((min(row), layer, int(np.argmin(row))) for layer, row in enumerate(map(list, macs)))
    _, layer, candidate = min(place for place in places if place[0] > 0)
    return space.cell(layer, candidate).key


def random_networks(space: Space, count: int, seed: int = 0) -> Iterator[Architecture]:
    """Networks with candidates drawn at random, always the same."""
    draw = np.random.default_rng(seed)
    for _ in range(count):
        chosen = [int(draw.integers(len(layer.candidates))) for layer in space.layers]
        yield Architecture.from_indices(space, chosen)
