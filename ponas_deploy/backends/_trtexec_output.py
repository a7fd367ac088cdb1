"""What trtexec writes, read: its version, its summary, its exported times, and why it failed.

Formats: NVIDIA/TensorRT, samples/common/sampleReporting.cpp and logging.h, the same from 10.0 to 11.1. 8.x
prints fewer percentiles and no build number.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Tuple

Version = Tuple[int, int, int]

_BANNER = re.compile(r"&&&& RUNNING TensorRT\.trtexec \[TensorRT v(\d+)\]")
_SUMMARY = re.compile(
    r"\[I\] ((?:[A-Z][\w -]* )?(?:Time|Latency)): min = .*?"
    r"\bmean = ([\d.eE+-]+) ms, median = ([\d.eE+-]+) ms"
)
_ERROR = re.compile(r"\[E\] (?:\[TRT\] )?(.+)$", re.MULTILINE)
# What it says of troubles that have a remedy (samples/common/sampleDevice.h, the ONNX parser, the dynamic
# linker), with the remedy. The first one that is found counts; a group in it says more than the first error.
_TROUBLES = tuple(
    (re.compile(pattern), remedy)
    for pattern, remedy in (
        (
            r"(?i:cuda failure)[^:\n]*: ([^\n]+)|((?i:cuda initialization failure)[^\n]*)",
            "See `nvidia-smi`, and whether this TensorRT is for the driver's CUDA.",
        ),
        (
            r"error while loading shared libraries: ([^\n]+)",
            "Install TensorRT and CUDA of the version that this trtexec is of, or name another one in"
            " $PONAS_TRTEXEC.",
        ),
        (
            r"(No importer registered for op: \w+)|While parsing node number",
            "Take another operator, another backend, or a newer TensorRT.",
        ),
        (r"Failed to parse onnx", "Check the model with `onnx.checker.check_model`."),
        (r"MAGIC_TAG|[Mm]agic ?tag|deserialization failed", "Delete the engine, and build it again here."),
    )
)
_OUT_OF_MEMORY = re.compile(r"out of memory|OutOfMemory", re.IGNORECASE)


@dataclass(frozen=True)
class Summary:
    """Of one line of the summary, in milliseconds."""

    mean_ms: float
    median_ms: float


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
    return {name: Summary(float(mean), float(median)) for name, mean, median in _SUMMARY.findall(output)}


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
    """Why trtexec failed, and what to do where that is known: from what it printed, else its exit code."""
    if _OUT_OF_MEMORY.search(output):
        return "the GPU's memory is full. Take a smaller batch, or end what else uses it."
    error = _ERROR.search(output)
    cause = error.group(1) if error else f"it ended with code {code}"
    for pattern, remedy in _TROUBLES:
        if trouble := pattern.search(output):
            said = next(filter(None, trouble.groups()), cause)
            return f"{said.strip().rstrip('.')}. {remedy}"
    return f"{cause.strip().rstrip('.')}."
