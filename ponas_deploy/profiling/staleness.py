"""Whether a latency table is still one of its machine: what it was made with that is another thing here.

Another runtime version has other kernels, another power mode other clocks. A table records what it was made
with; whatever of that can be read here and differs makes it stale, and is named.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata

from ponas_deploy.boards.book import Entry, find_board
from ponas_deploy.boards.link import BoardError
from ponas_deploy.errors import MeasurementError, PonasError
from ponas_deploy.files.notes import OnNote, no_note
from ponas_deploy.machines.conditions import clock_settings
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
    return _differences(stored, _machine_at(place), place)


def differences_by_package(stored: StoredTable) -> tuple[Difference, ...]:
    """The same for a table of this machine, without loading its runtime: by the version of its package.

    Where no package has the runtime's name, the runtime is taken to be what it was.
    """
    made = made_with(stored.table)
    runtime = _installed(made.get("runtime", ""))
    return differing(made, {**_machine_at(HERE), "runtime": runtime})


def _installed(made: str) -> str:
    """`onnxruntime 1.31.1` as it is installed here."""
    name, _, version = made.partition(" ")
    try:
        found = metadata.version(name).partition("+")[0] if name else ""
    except metadata.PackageNotFoundError:
        return made
    return made if not found or re.split("[-+]", version)[0] == found else f"{name} {found}"


def _machine_at(place: Place) -> dict[str, str]:
    """What a machine is and works under now, by name."""
    return {**dict(place.environment()), **dict(place.conditions())}


def _differences(stored: StoredTable, machine: Mapping[str, str], place: Place) -> tuple[Difference, ...]:
    runtime = dict(place.backend(stored.conditions.backend).environment())
    return differing(made_with(stored.table), {**machine, **runtime})


def refuse_stale(tables: Sequence[StoredTable], on_note: OnNote = no_note) -> tuple[str, ...]:
    """MeasurementError where one of these tables would promise what it was never measured with.

    Tables of this machine are compared with what it is now, those of a board of the device book with what
    that is: it is asked once for all of them. Returned is a sentence for each board that was not reached.
    """
    devices = dict[str, list[StoredTable]]()
    for stored in tables:
        if stored.table.conditions and not stored.shipped and not stored.table.estimated:
            devices.setdefault(stored.device, []).append(stored)
    unchecked = list[str]()
    for device, own in devices.items():
        if device in (this_machine().name, this_gpu()):
            _refuse_at(own, HERE)
        elif board := find_board(device):
            unchecked += _refuse_at_board(own, board, on_note)
    return tuple(unchecked)


def _refuse_at_board(tables: Sequence[StoredTable], board: Entry, on_note: OnNote) -> tuple[str, ...]:
    """The same for tables of one board."""
    from ponas_deploy.remote.place import place_on

    on_note(f"connecting to {board.name} ...")
    try:
        with place_on(board, "what its tables were made with", on_note) as place:
            _refuse_at(tables, place)
    except BoardError as error:
        names = " and ".join(stored.name for stored in tables)
        return (f"{error} It was not checked whether {names} still holds for the board as it is now.",)
    return ()


def _refuse_at(tables: Sequence[StoredTable], place: Place) -> None:
    machine = _machine_at(place)
    for stored in tables:
        try:
            found = _differences(stored, machine, place)
        except BoardError:
            raise
        except PonasError:  # its runtime is not there, so that there is nothing to compare with
            continue
        if found:
            raise MeasurementError(
                f"{in_words(stored, found)}. No engine is promised by such a table: `ponas table recheck`"
                " says what moved, `ponas profile --force` makes it again, without --confidence it is used as"
                " it is."
            )


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
