"""A profile over ssh beside one of this machine: seconds, bytes, and how far the tables agree.

    python benchmarks/boards.py --python FILE [--backend onnxruntime] [--time 150] [--turns 2]

Needs root and openssh-server: the board is a server on loopback with a user of its own, which runs an
interpreter that has the runtime and that it can read (`tests/ssh_board.py`), so that both are the same
processor. In each turn: this machine, the board, and the board at a round trip of 50 ms and 2 MB/s
(`slow_link.py`), each from nothing and with enough time for all rounds. A table of this machine is made
before and after each table of the board, so that the machine's own change in the meantime is seen. Tables
differ by the mean of |ratio - 1| of what they predict for 200 networks.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from ponas_deploy.boards.book import Board, add_board
from ponas_deploy.profiling.tables import ProfileOptions, profile_tables
from ponas_deploy.profiling.target import Target
from ponas_deploy.remote import place as places
from ponas_deploy.tables.latency import LatencyTable
from searchspace import Architecture, Space, build_space
from ssh_board import SshBoard, ssh_board

ROOT, NETWORKS = Path(__file__).resolve().parents[1], 200
LINKS: dict[str, tuple[str, ...]] = {"ssh": (), "ssh, 50 ms, 2 MB/s": ("slow",)}


@dataclass(frozen=True)
class Made:
    """A table, the seconds its profile took, and the bytes that went to the board and came back."""

    table: LatencyTable
    seconds: float
    sent: int = 0
    received: int = 0

    @property
    def rounds(self) -> int:
        return sum(self.table.protocol.rounds)


@contextmanager
def reached_by(board: SshBoard, *options: str) -> Iterator[None]:
    """`ssh` reaches the board with these options, while this lasts."""
    before, ssh = os.environ["PATH"], shutil.which("ssh")
    with tempfile.TemporaryDirectory() as folder:
        program = Path(folder) / "ssh"
        words = " ".join(f"'{word}'" for word in options)
        program.write_text(f'#!/bin/sh\nexec {ssh} -F {board.config} {words} "$@"\n')
        program.chmod(0o755)
        os.environ["PATH"] = f"{folder}:{before}"
        try:
            yield
        finally:
            os.environ["PATH"] = before


def profiled(device: str, backend: str, space: Space, seconds: float) -> Made:
    """Profile from nothing, into a folder that is gone afterwards."""
    counted: list[places.Job] = []
    begin = places.job_on

    @contextmanager
    def watched(*given: object, **named: object) -> Iterator[places.Job]:
        with begin(*given, **named) as job:  # type: ignore[arg-type]
            counted.append(job)
            yield job

    places.job_on = watched  # type: ignore[assignment]
    try:
        with tempfile.TemporaryDirectory() as out:
            start = time.monotonic()
            (made,) = profile_tables(
                Target(device, (backend,)), space, ProfileOptions(seconds, out=Path(out)), on_note=print
            )
            took = time.monotonic() - start
    finally:
        places.job_on = begin
    return Made(
        made.table, took, sum(one.sent_bytes for one in counted), sum(one.received_bytes for one in counted)
    )


def apart_pct(one: LatencyTable, other: LatencyTable, space: Space) -> float:
    """How far two tables lie apart on random networks, in percent."""
    random = np.random.default_rng(0)
    choices = [
        Architecture.from_indices(
            space,
            space.groups.choices(np.array([random.integers(size) for size in space.groups.sizes])).tolist(),
        ).choices
        for _ in range(NETWORKS)
    ]
    return 100 * statistics.fmean(abs(one.predict_ms(each) / other.predict_ms(each) - 1) for each in choices)


def beside(runs: list[tuple[str, Made]], place: int, space: Space) -> str:
    """What a table lies from those of this machine before and after it, in words."""
    others = {"the local one before": place - 1, "after": place + 1}
    if runs[place][0] == "this machine":
        others = {"the local one before": place - 2, "after": place + 2}
    return ", ".join(
        f"{name} {apart_pct(runs[place][1].table, runs[other][1].table, space):.2f} %"
        for name, other in others.items()
        if 0 <= other < len(runs)
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--python", default=sys.executable, help="the interpreter of the board")
    parser.add_argument("--backend", default="onnxruntime")
    parser.add_argument("--space", default="ponas")
    parser.add_argument("--time", type=float, default=150.0, help="seconds each profile may take")
    parser.add_argument("--turns", type=int, default=2)
    asked = parser.parse_args()
    space = build_space(asked.space, 224)
    with tempfile.TemporaryDirectory() as home, ssh_board() as board:
        os.environ["PONAS_HOME"] = home
        add_board("board", Board(host="board", python=asked.python))
        slow = f"-oProxyCommand={sys.executable} {ROOT}/benchmarks/slow_link.py %h %p"
        runs = [("this machine", profiled("cpu", asked.backend, space, asked.time))]
        for turn in range(asked.turns):
            for name, options in LINKS.items():
                if turn == 0:
                    shutil.rmtree(board.home / ".cache", ignore_errors=True)
                with reached_by(board, *(slow if option == "slow" else option for option in options)):
                    runs.append((name, profiled("board", asked.backend, space, asked.time)))
                runs.append(("this machine", profiled("cpu", asked.backend, space, asked.time)))
    for place, (name, one) in enumerate(runs):
        known = one.table.certificate
        print(
            f"{name}: {one.seconds:.0f} s, {one.rounds} rounds, sent {one.sent / 1e6:.2f} MB, received"
            f" {one.received / 1e6:.2f} MB, noise floor"
            f" {known.noise_floor_pct if known else float('nan'):.2f} %, error"
            f" {known.mean_error_pct if known else float('nan'):.2f} %, apart from"
            f" {beside(runs, place, space)}"
        )


if __name__ == "__main__":
    main()
