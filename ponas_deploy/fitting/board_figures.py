"""What boards can do by their published figures, and how much of that networks get: `profiles/boards.json`.

The file names for each board the clock, the peak in 10^12 operations a second for each precision (dense; a
multiply-accumulate counts twice), the memory bandwidth in GB/s, and where these figures stand. For each
family, processors and GPUs, it has what `benchmarks/estimates.py` fitted: the efficiencies, and how far
estimates by them are off on devices that had no part in the fit.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

from ponas_deploy.errors import PonasError, UnknownNameError
from ponas_deploy.files.bounds import AboveZero, Positive
from ponas_deploy.files.documents import Format, read_document
from ponas_deploy.machines.names import slug
from ponas_deploy.tables.store import SHIPPED

Family: TypeAlias = Literal["processor", "gpu"]
FILE = SHIPPED / "boards.json"
DEFAULT_BANDWIDTH_GBS = 12.8
"""Of a processor whose memory nobody named: one 32-bit channel of LPDDR4-3200, as boards have."""
PROCESSOR_FORM = "CORESxGHZxFLOPS, with @GB/S for its memory (4x2.4x16@17.1)"
_PROCESSOR_BOUNDS = {
    "cores": (1, 1024),
    "GHz": (0.05, 10),
    "FLOPs a cycle": (0.25, 4096),
    "GB/s of memory": (0.1, 5000),
}
"""Between what a processor may be given as: wider than any that was built, narrower than a slip of a unit."""
_PROCESSOR = re.compile(r"(\d{1,4})x(\d+(?:\.\d+)?)x(\d+(?:\.\d+)?)(?:@(\d+(?:\.\d+)?))?")


@dataclass(frozen=True, slots=True)
class BoardFigures:
    """A board's published figures: clock in GHz, peak in TFLOPS (TOPS) by precision, bandwidth in GB/s.

    The first precision is the usual one. A processor's peak is that of all its `cores`.
    """

    name: str
    title: str
    family: Family
    clock_ghz: AboveZero
    tflops: Mapping[str, AboveZero]
    bandwidth_gbs: AboveZero
    source: str
    cores: Positive = 1

    def peak_tflops(self, precision: str, threads: int) -> float:
        """The peak that so many threads reach; UnknownNameError for a precision without a figure."""
        if precision not in self.tflops:
            raise UnknownNameError(f"precision in the figures of {self.name}", precision, self.tflops)
        share = min(threads, self.cores) / self.cores if self.family == "processor" else 1.0
        return self.tflops[precision] * share


@dataclass(frozen=True, slots=True)
class Efficiencies:
    """How much of the published figures the operations of a network get on a family of devices.

    An operation costs `launch_kilocycles` (thousands of clock cycles) before it does anything. The other
    terms are shares of the peak by kind of operation, and of the memory `bandwidth`. Estimates of devices
    that had no part in the fit are off by `median_factor` in the median and by `worst_factor` at worst;
    `checked_on` says in words which.
    """

    launch_kilocycles: AboveZero
    dense: AboveZero
    pointwise: AboveZero
    depthwise: AboveZero
    squeeze_excite: AboveZero
    head: AboveZero
    bandwidth: AboveZero
    median_factor: AboveZero
    worst_factor: AboveZero
    checked_on: str


@dataclass(frozen=True, slots=True)
class BoardFiguresDocument:
    """See `BoardFigures` and `Efficiencies`."""

    families: Mapping[Family, Efficiencies]
    boards: tuple[BoardFigures, ...]


BOARD_FIGURES = Format("ponas.board-figures", 1, BoardFiguresDocument)


def board_figures() -> BoardFiguresDocument:
    """The figures and efficiencies that are shipped."""
    return read_document(FILE, BOARD_FIGURES)


def find_figures(name: str) -> BoardFigures:
    """The figures of a board by its name, or of a processor written as `PROCESSOR_FORM`.

    A maker's name in front (`jetson-orin-nano`) is no part of it. UnknownNameError lists the boards that are
    known.
    """
    if given := _PROCESSOR.fullmatch(name.lower().replace("ghz", "").replace("gb/s", "").replace(" ", "")):
        return _processor(name, *given.groups())
    known = {board.name: board for board in board_figures().boards}
    wanted = re.sub("^(nvidia-)?(jetson-|geforce-|raspberry-)?", "", slug(name))
    if wanted not in known:
        advice = f"Or give a processor as {PROCESSOR_FORM}."
        raise UnknownNameError("board", name, known, advice=advice)
    return known[wanted]


def _processor(name: str, cores: str, ghz: str, flops: str, memory: str | None) -> BoardFigures:
    values = int(cores), float(ghz), float(flops), float(memory or DEFAULT_BANDWIDTH_GBS)
    for value, (unit, (least, most)) in zip(values, _PROCESSOR_BOUNDS.items(), strict=True):
        if not least <= value <= most:
            raise PonasError(
                f"'{name}' is no processor: {value:g} {unit} are not within {least:g} to {most:g}. Give"
                f" {PROCESSOR_FORM}."
            )
    tflops = values[0] * values[1] * values[2] / 1e3
    title = f"a processor of {cores} cores, {ghz} GHz, {flops} FLOPs a cycle, {values[3]:g} GB/s"
    source = "given" if memory else f"given; {DEFAULT_BANDWIDTH_GBS} GB/s assumed"
    return BoardFigures(
        slug(name), title, "processor", values[1], {"fp32": tflops}, values[3], source, values[0]
    )
