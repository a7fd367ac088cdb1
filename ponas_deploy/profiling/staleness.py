"""Whether a latency table is still one of this machine: what it was made with that is another thing here.

Another runtime version has other kernels, another power mode other clocks. A table records what it was made
with; whatever of that can be read here and differs makes it stale, and is named.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from ponas_deploy.errors import MeasurementError, PonasError
from ponas_deploy.machines.gpu import this_gpu
from ponas_deploy.machines.machine import this_machine
from ponas_deploy.measuring.place import HERE, Place
from ponas_deploy.tables.latency import LatencyTable
from ponas_deploy.tables.store import StoredTable

_ALWAYS = ("processor", "runtime")
"""A table that does not say these was not made here by us."""

# What is compared, as it is recorded, and how a sentence names it: "with governor performance".
_WORDS = {
    "processor": "processor ",
    "processor_model": "",
    "instruction_sets": "instruction sets ",
    "runtime": "",
    "cores": "cores: ",
    "quota_cores": "a quota of cores of ",
    "gpu": "",
    "gpu_driver": "GPU driver ",
    "power_mode": "power mode ",
    "governor": "governor ",
    "gpu_clocks": "GPU clocks of ",
}
_AT_START = ("governor", "gpu_clocks")


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing that a table was made with (`made`) and that is another thing here (`here`)."""

    what: str
    made: str
    here: str

    @property
    def text(self) -> str:
        """`with onnxruntime 1.30, here is onnxruntime 1.31`."""
        word = _WORDS[self.what]
        text = f"with {word}{self.made or 'unknown'}, here is {word}{self.here or 'none'}"
        return f"{text} (`{self.remedy}` there goes back)" if self.remedy else text

    @property
    def remedy(self) -> str:
        """The command that makes it what it was, for people (it takes root); empty where there is none."""
        mode = re.match(r"nvpmodel (\d+)", self.made) if self.what == "power_mode" else None
        if self.what == "gpu_clocks" and "-" not in self.made:
            return "sudo jetson_clocks"
        return f"sudo nvpmodel -m {mode.group(1)}" if mode else ""


def differences(stored: StoredTable, place: Place = HERE) -> tuple[Difference, ...]:
    """What of a table of a machine is another thing now; BackendError where its runtime is missing."""
    runtime = dict(place.backend(stored.conditions.backend).environment())
    now = {**dict(place.environment()), **dict(place.conditions()), **runtime}
    return differing(made_with(stored.table), now)


def refuse_stale(stored: StoredTable) -> None:
    """MeasurementError where a table of this machine would promise what it was never measured with."""
    known = stored.table.conditions
    if known is None or stored.shipped or known.device not in (this_machine().name, this_gpu()):
        return
    try:
        found = differences(stored)
    except PonasError:  # its runtime is not here, so that there is nothing to compare with
        return
    if found:
        raise MeasurementError(
            f"{in_words(stored, found)}. No engine is promised by such a table: `ponas table recheck` says"
            " what moved, `ponas profile --force` makes it again, without --confidence it is used as it is."
        )


def made_with(table: LatencyTable) -> dict[str, str]:
    """What a table records of the machine it was made on; governor and GPU clocks are those at the start."""
    start = table.protocol.at_start
    return {**{name: start[name] for name in _AT_START if name in start}, **dict(table.environment)}


def differing(made: Mapping[str, str], here: Mapping[str, str]) -> tuple[Difference, ...]:
    """What differs between two records, in the order of importance; what one does not say is not compared."""
    return tuple(
        Difference(what, made.get(what, ""), here.get(what, ""))
        for what in _WORDS
        if made.get(what) != here.get(what) and (what in _ALWAYS or (what in made and what in here))
    )


def in_words(stored: StoredTable, found: tuple[Difference, ...]) -> str:
    """A sentence's beginning that names the table and what differs."""
    return f"table {stored.name} was made {'; '.join(difference.text for difference in found)}"
