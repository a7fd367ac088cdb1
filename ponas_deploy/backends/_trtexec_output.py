"""What trtexec writes, read: its version, its summary, its exported times, and why it failed.

Formats: NVIDIA/TensorRT, samples/common/sampleReporting.cpp and logging.h, the same from 10.0 to 11.1. 8.x
prints fewer percentiles and no build number.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass

Version = tuple[int, int, int]

_BANNER = re.compile(r"&&&& RUNNING TensorRT\.trtexec \[TensorRT v(\d+)\]")
_SUMMARY = re.compile(r"\[I\] ((?:[A-Z][\w -]* )?(?:Time|Latency)): (min = .*)$", re.MULTILINE)
_VALUE = re.compile(r"(\w+)(?:\(([\d.]+)%\))? = ([\d.eE+-]+) ms")
_ERROR = re.compile(r"\[E\] (?:\[TRT\] )?(.+)$", re.MULTILINE)
_OUT_OF_MEMORY = re.compile(r"out of memory|OutOfMemory", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Summary:
    """One line of the summary, in milliseconds; `percentiles_ms` by percent (99.0, ...)."""

    min_ms: float
    max_ms: float
    mean_ms: float
    median_ms: float
    percentiles_ms: tuple[tuple[float, float], ...]


def version(output: str) -> Version | None:
    """The TensorRT version that trtexec says it is of: (10, 3, 0) for `v100300`, (8, 6, 1) for `v8601`."""
    found = _BANNER.search(output)
    if not found:
        return None
    number = int(found.group(1))
    major, rest = divmod(number, 10_000) if number >= 100_000 else divmod(number, 1_000)
    return major, rest // 100, rest % 100


def summaries(output: str) -> Mapping[str, Summary]:
    """The lines of the summary by name: "GPU Compute Time", "Enqueue Time", "Latency"."""
    found = {}
    for name, text in _SUMMARY.findall(output):
        values = {(what, percent): float(value) for what, percent, value in _VALUE.findall(text)}
        if {(what, "") for what in ("min", "max", "mean", "median")} <= set(values):
            percentiles = ((float(p), value) for (what, p), value in values.items() if what == "percentile")
            found[name] = Summary(
                min_ms=values["min", ""],
                max_ms=values["max", ""],
                mean_ms=values["mean", ""],
                median_ms=values["median", ""],
                percentiles_ms=tuple(percentiles),
            )
    return found


def compute_ns(exported: str) -> tuple[float, ...]:
    """GPU nanoseconds of every run that `--exportTimes` wrote, in order; ValueError for another file."""
    entries = json.loads(exported)
    try:
        if not isinstance(entries, list):
            raise TypeError
        return tuple(1e6 * float(entry["computeMs"]) for entry in entries)
    except (TypeError, KeyError) as error:
        raise ValueError("no list of runs with 'computeMs'") from error


def failure(output: str, code: int) -> str:
    """Why trtexec failed: out of memory, the first error it printed, or its exit code."""
    if _OUT_OF_MEMORY.search(output):
        return "the GPU's memory is full. Take a smaller batch, or end what else uses it."
    found = _ERROR.search(output)
    reason = found.group(1).strip() if found else f"it ended with code {code}"
    return reason if reason.endswith(".") else f"{reason}."
