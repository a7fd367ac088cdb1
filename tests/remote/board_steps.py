"""Steps of tests: they are sent to a board in the place of `ponas_deploy.remote.steps`."""

from __future__ import annotations

import subprocess
import time

from ponas_deploy.errors import BackendError, MeasurementError, PonasError

ERRORS = {
    "BackendError": lambda: BackendError("faulty", "does not like it"),
    "MeasurementError": lambda: MeasurementError("too noisy"),
    "PonasError": lambda: PonasError("no \x1b[31mway"),
    "MemoryError": MemoryError,
    "bug": lambda: ZeroDivisionError("a bug of ours"),
}


def echo(state, details, write):
    return details


def count(state, details, write):
    """Lines, one after the other, and how many steps like this one this worker did before."""
    for number in range(details["lines"]):
        write({"number": number})
        time.sleep(details["pause_s"])
    state.values["counts"] = state.values.get("counts", -1) + 1
    return state.values["counts"]


def build(state, details, write):
    """What takes long, with a process of its own."""
    write({"now": "building block X"})
    subprocess.Popen(["sleep", "1000"])
    time.sleep(details["seconds"])


def fail(state, details, write):
    raise ERRORS[details["kind"]]()


def no_json(state, details, write):
    return float("nan")


def raw(state, details, write):
    """What a broken or hostile board has in its journal."""
    with (state.folder / "journal.jsonl").open("ab") as file:
        file.write(details["text"].encode() * details.get("times", 1))
    time.sleep(details.get("seconds", 0))
    return details["text"]


def size_of(state, details, write):
    return state.blob(details["sha"]).stat().st_size


def keep(state, details, write):
    return state.keep(details["text"].encode())


def fill(state, details, write):
    """Lines until there is no room."""
    while True:
        write({"texts": ["x" * 5000] * 10})


STEPS = {one.__name__: one for one in (echo, count, build, fail, no_json, raw, size_of, keep, fill)}
