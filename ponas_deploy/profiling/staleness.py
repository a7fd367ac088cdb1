"""Whether a latency table is still one of its machine: what it was made with that is another thing here.

Another runtime version has other kernels, another power mode other clocks. A table records what it was made
with; whatever of that can be read here and differs makes it stale, and is named.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ponas_deploy.backends.cpu_scales import INT8_FORM
from ponas_deploy.backends.protocol import QUANTISED
from ponas_deploy.boards.book import Entry, find_board
from ponas_deploy.boards.link import BoardError
from ponas_deploy.errors import MeasurementError, PonasError
from ponas_deploy.files.notes import OnNote, no_note
from ponas_deploy.machines.gpu import this_gpu
from ponas_deploy.machines.machine import this_machine
from ponas_deploy.measuring.place import HERE, Place
from ponas_deploy.profiling.differences import Difference, differing, in_words, made_with
from ponas_deploy.tables.store import StoredTable


def differences(stored: StoredTable, place: Place = HERE) -> tuple[Difference, ...]:
    """What of a table of a machine is another thing now; BackendError where its runtime is missing."""
    return _differences(stored, _machine_at(place), place)


def _machine_at(place: Place) -> dict[str, str]:
    """What a machine is and works under now, by name."""
    return {**dict(place.environment()), **dict(place.conditions())}


def _differences(stored: StoredTable, machine: Mapping[str, str], place: Place) -> tuple[Difference, ...]:
    runtime = dict(place.backend(stored.conditions.backend).environment())
    if stored.conditions.precision not in QUANTISED:  # how the runtime takes INT8 is no matter
        runtime.pop(INT8_FORM, None)
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
