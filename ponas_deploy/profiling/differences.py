"""What a latency table was made with that is another thing on a machine, as far as two records say.

Light on purpose: what `ponas` alone says of this machine's tables needs no runtime and no place to measure.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata

from ponas_deploy.machines.conditions import clock_settings, read_conditions
from ponas_deploy.machines.machine import this_machine
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
    "int8_form": "INT8 as ",
}


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


def differences_by_package(stored: StoredTable) -> tuple[Difference, ...]:
    """The same for a table of this machine, without loading its runtime: by the version of its package.

    Where no package has the runtime's name, the runtime is taken to be what it was.
    """
    made = made_with(stored.table)
    runtime = _installed(made.get("runtime", ""))
    here = {**dict(this_machine().environment()), **dict(read_conditions().conditions())}
    return differing(made, {**here, "runtime": runtime})


def _installed(made: str) -> str:
    """`onnxruntime 1.31.1` as it is installed here."""
    name, _, version = made.partition(" ")
    try:
        found = metadata.version(name).partition("+")[0] if name else ""
    except metadata.PackageNotFoundError:
        return made
    return made if not found or re.split("[-+]", version)[0] == found else f"{name} {found}"


def made_with(table: LatencyTable) -> dict[str, str]:
    """What a table records of the machine it was made on; how its clocks were set is that at the start."""
    return {**clock_settings(table.protocol.at_start), **dict(table.environment)}


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
