"""The process that profiles through ONNX Runtime, with one fault that really happens in it (variable FAULT).

`ponas_deploy.profiling.supervise.MODULE` names this module in tests; `fault` writes the variable.
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import signal
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import onnx

from conftest import tiny_space
from ponas_deploy.backends import RunSettings, Session, registry
from ponas_deploy.backends.fake import FakeBackend
from ponas_deploy.backends.onnxruntime import OnnxRuntimeBackend
from ponas_deploy.measuring.protocol import Plan
from ponas_deploy.profiling import bench, worker
from ponas_deploy.profiling.supervise import Timeouts
from ponas_deploy.profiling.worker import Request
from ponas_deploy.tables.grid import SpaceKey
from ponas_deploy.tables.latency import Conditions
from registered import with_factory
from searchspace import Space
from searchspace.spaces import SPACES

IMPATIENT = Timeouts(first_s=120, least_s=2, times=1)


def fault(what: str, key: str, *, after: int = 0, once: Path | None = None) -> str:
    """The variable FAULT: `what` happens at the block `key`.

    While it is built, or with `after` while it is timed as soon as the journal has so many lines. With
    `once` only as long as that file is not there, and then it is.
    """
    return json.dumps({"what": what, "key": key, "after": after, "once": str(once or "")})


def quick_request(space: Space, folder: Path) -> Request:
    """A short profile of `tiny_space()`."""
    plan = Plan(sample_ns=300_000, min_rounds=3, floor_rounds=3, max_rounds=3, retakes=0, redone_pct=0)
    conditions = Conditions("here", "onnxruntime", "fp32", 1, 1)
    table, journal = folder / "table.json", folder / "table.journal"
    return Request(conditions, SpaceKey.of(space), table, journal, seconds=0.0, plan=plan)


def samples(journal: Path) -> list[tuple[str, int]]:
    """Key and round of every sample in a journal, in order."""
    entries = map(json.loads, journal.read_text(encoding="utf-8").split("\n")[:-1])
    return [(entry["key"], entry["round"]) for entry in entries if "key" in entry]


def main(arguments: Sequence[str]) -> None:
    registry.ENTRIES = with_factory("onnxruntime", "faulty_worker:FaultyBackend")
    SPACES["tiny"] = tiny_space
    journal = Request.from_text(arguments[0]).journal
    FaultyBackend.fault = {"journal": journal, **json.loads(os.environ.get("FAULT", "{}"))}
    if FaultyBackend.fault.get("what") == "clock":
        time.time = iter(range(0, 10**12, 3600)).__next__  # type: ignore[assignment]
    if FaultyBackend.fault.get("what") == "memory":
        bench.memory_mib = lambda kind: 1  # networks are built in waves, between the rounds
    worker.main(arguments)


class FaultyBackend(OnnxRuntimeBackend):
    """ONNX Runtime builds and runs; the clock is `FakeDevice`'s, so that a busy machine changes nothing."""

    fault: dict[str, Any] = {}  # noqa: RUF012

    def load(self, model: bytes, settings: RunSettings) -> Any:
        here = onnx.load_model_from_string(model).graph.name == self.fault.get("key")
        clock = FakeBackend().load(model, settings)
        if here and not self.fault["after"]:
            strike(self.fault)
        if "reserve" in self.fault:
            no_more_memory(self.fault)  # what was given back since
        spoilt = here and self.fault["what"] == "refusal"
        session = super().load(model[:-100] if spoilt else model, settings)
        return FaultySession(session, clock, self.fault if here else {})


class FaultySession:
    def __init__(self, session: Session, clock: Session, fault: dict[str, Any]) -> None:
        self._session, self._clock, self._fault = session, clock, fault

    def __enter__(self) -> FaultySession:
        return self

    def __exit__(self, *ended: Any) -> None:
        self._session.close()

    def time_ns(self, runs: int) -> int:
        self._session.time_ns(1)
        start = time.perf_counter_ns()
        if self._fault.get("after") and runs > 1 and self._is_time():
            strike(self._fault)
            self._fault["after"] = 0
            return self._clock.time_ns(runs) + time.perf_counter_ns() - start
        return self._clock.time_ns(runs)

    def _is_time(self) -> bool:
        return self._fault["journal"].read_bytes().count(b"\n") >= self._fault["after"]


def strike(fault: dict[str, Any]) -> None:
    once = Path(fault["once"])
    if fault["once"] and once.exists():
        return
    if fault["once"]:
        once.touch()
    if fault["what"] in STRIKES:
        STRIKES[fault["what"]](fault)


def no_more_memory(fault: dict[str, Any]) -> None:
    """The process grows no more, and what it holds in reserve is taken, but for some crumbs."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit(resource.RLIMIT_AS, pages * resource.getpagesize())
    with suppress(MemoryError):
        while True:
            fault.setdefault("reserve", []).append(bytearray(1 << 16))


def no_more_disk(fault: dict[str, Any]) -> None:
    limit(resource.RLIMIT_FSIZE, fault["journal"].stat().st_size + 100)


def limit(what: int, value: int) -> None:
    resource.setrlimit(what, (value, resource.getrlimit(what)[1]))


STRIKES: dict[str, Callable[[dict[str, Any]], object]] = {
    "crash": lambda fault: ctypes.string_at(0),
    "kill": lambda fault: os.kill(os.getpid(), signal.SIGKILL),
    "hang": lambda fault: time.sleep(3600),
    "stop": lambda fault: os.kill(os.getpid(), signal.SIGSTOP),
    "exit": lambda fault: os._exit(0),
    "bug": lambda fault: 1 / 0,
    "huge": lambda fault: bytearray(1 << 60),
    "memory": no_more_memory,
    "disk": no_more_disk,
}
