"""The place that a target is measured at: this machine, or a board of the book over its link."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace

from ponas_deploy.backends import registry
from ponas_deploy.boards.link import BoardError, LinkLostError
from ponas_deploy.errors import PonasError
from ponas_deploy.files.notes import OnNote, no_note
from ponas_deploy.machines.conditions import what_to_lock
from ponas_deploy.machines.machine import power_mode
from ponas_deploy.measuring.place import HERE, Place
from ponas_deploy.profiling.devices import known_devices
from ponas_deploy.profiling.making import missing
from ponas_deploy.profiling.target import Target
from ponas_deploy.remote.pack import runs_on_boards
from ponas_deploy.remote.place import BoardPlace, place_on
from ponas_deploy.tables.latency import Conditions


@contextmanager
def reached(target: Target, title: str, on_note: OnNote = no_note) -> Iterator[Place]:
    """The place of a target, for what `title` says; a board is connected to, and nobody else measures there.

    PonasError where the device is neither this machine nor in the book, or has fewer cores than the threads
    asked for; BoardError where it cannot be reached or somebody else measures there.
    """
    if target.local:
        if target.on_gpu:
            for text in what_to_lock(dict(HERE.conditions()), power_mode(), where="", gpu_only=True):
                on_note(text)
        yield HERE
        return
    if target.board is None:
        raise PonasError(target.unreachable)
    on_note(f"connecting to {target.board.name} ...")
    with place_on(target.board, title, on_note) as place:
        about = place.about(asked_of(target), target.all_threads)
        if about.threads_fault:
            raise PonasError(f"{target.board.name}: {about.threads_fault}")
        for text in what_to_lock(dict(about.conditions), dict(about.machine).get("power_mode", "")):
            on_note(f"{place.name}: {text}")
        if not target.backends:
            for one in place.runtimes(target.used_backends):
                if one.problem:
                    on_note(f"{place.name} is left without {one.backend} of the book: {one.problem}")
        yield place


@contextmanager
def reached_if_possible(
    target: Target, title: str, on_note: OnNote = no_note, *, has_tables: bool = False
) -> Iterator[Place | None]:
    """The same; None for a device that is not in the book, and where its board cannot be reached now.

    For an engine: BackendError where no runtime there makes one (`for_engines`). BoardError for a board that
    cannot be reached and has no tables in the store, unless it `has_tables` that were named.
    """
    with ExitStack() as stack:
        place: Place | None = None
        if target.local or target.board:
            try:
                place = stack.enter_context(reached(target, title, on_note))
            except LinkLostError as error:
                if not has_tables and target.device_name not in known_devices():
                    raise BoardError(
                        error.board,
                        f"{error.reason} It has no latency table yet: `ponas devices test {error.board}` asks"
                        " it again, `ponas specialize --estimate BOARD` guesses one from published figures.",
                    ) from error
                on_note(f"{error} Its tables are used as they are, and no engine is built.")
        if place is not None:
            for_engines(place, target)
        yield place


def conditions_at(place: Place, target: Target) -> tuple[Conditions, ...]:
    """Each runtime of a place that is to be used, at the precisions of the target; see `missing`."""
    return missing(target, (), known=known_at(place, target))


def for_engines(place: Place, target: Target, on_note: OnNote = no_note) -> Target:
    """A target with those runtimes of its place that make engines; others are left out, which is said.

    BackendError where none makes engines, or one does not that was named.
    """
    there = known_at(place, target) or target.backends
    makers = tuple(filter(registry.makes_engines, there))
    if len(makers) == len(there):
        return target
    if not makers or target.backends:
        registry.refuse_without_engines(there)
    for name in there:
        if name not in makers:
            on_note(
                f"{name} is left out, it makes no engines (`ponas profile --device {target.device} --backend"
                f" {name}` makes its latency table)"
            )
    return replace(target, backends=makers)


def known_at(place: Place, target: Target) -> dict[str, tuple[str, ...]] | None:
    """The precisions of each runtime of a board that is to be used; None for this machine (see `missing`).

    Those that were named, all of which must be there; else what it has of those that the book names, or of
    the default ones: for its GPU where one of them runs on that, else for its processor. PonasError where it
    has none.
    """
    if not isinstance(place, BoardPlace):
        return None
    if target.backends:
        return {name: place.runtime(name).precisions for name in target.backends}
    there = place.runtimes(asked_of(target))
    usable = {one.backend: one for one in there if not one.problem}
    if not target.used_backends:
        on_gpu = any(one.on_gpu for one in usable.values())
        usable = {
            name: one
            for name, one in usable.items()
            if one.on_gpu == on_gpu and registry.entry_of(name).stands_in_for not in usable
        }
    if not usable:
        why = " ".join(f"{one.backend}: {one.problem}" for one in there)
        raise PonasError(f"{place.name} has no runtime. {why}")
    return {name: one.precisions for name, one in usable.items()}


def asked_of(target: Target) -> tuple[str, ...]:
    """The runtimes that a board is asked for: those of the target or the book, else the default ones."""
    if target.used_backends:
        return target.used_backends
    default = (*registry.default_backends(registry.GPU), *registry.default_backends(registry.CPU))
    names = (one for name in default for one in (name, registry.stand_in_for(name)))
    return tuple(name for name in names if name and runs_on_boards(name))
