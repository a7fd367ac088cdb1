"""The place that a target is measured at: this machine, or a board of the book over its link."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from ponas_deploy.backends import registry
from ponas_deploy.boards.link import BoardError
from ponas_deploy.errors import BackendError, PonasError
from ponas_deploy.files.notes import OnNote, no_note
from ponas_deploy.measuring.place import HERE, Place
from ponas_deploy.profiling.inventory import THIS_MACHINE, Target
from ponas_deploy.remote.job import BoardBusyError
from ponas_deploy.remote.place import BoardPlace, place_on


def target_named(device: str) -> Target:
    """The board of the device book that an engine's or a table's device is, else this machine."""
    target = Target(device)
    return target if target.board else Target(THIS_MACHINE)


@contextmanager
def reached(target: Target, title: str, on_note: OnNote = no_note) -> Iterator[Place]:
    """The place of a target, for what `title` says; a board is connected to, and nobody else measures there.

    PonasError where the device is neither this machine nor in the book, or has fewer cores than the threads
    asked for; BoardError where it cannot be reached or somebody else measures there.
    """
    if target.local:
        yield HERE
        return
    if target.board is None:
        raise PonasError(target.unreachable)
    on_note(f"connecting to {target.board.name} ...")
    with place_on(target.board, title, on_note) as place:
        if fault := place.about(threads=target.threads).threads_fault:
            raise PonasError(f"{target.board.name}: {fault}")
        yield place


@contextmanager
def reached_if_possible(target: Target, title: str, on_note: OnNote = no_note) -> Iterator[Place | None]:
    """The same; None for a device that is not in the book, and where its board cannot be reached now."""
    with ExitStack() as stack:
        place: Place | None = None
        if target.local or target.board:
            try:
                place = stack.enter_context(reached(target, title, on_note))
            except BoardBusyError:
                raise
            except BoardError as error:
                on_note(f"{error} Its tables are used as they are, and no engine is built.")
        yield place


def known_at(place: Place, target: Target) -> dict[str, tuple[str, ...]] | None:
    """The precisions of each runtime of a board; None for this machine, which `missing` asks itself."""
    return _precisions_there(place, tuple(target.backends)) if isinstance(place, BoardPlace) else None


def _precisions_there(place: BoardPlace, backends: tuple[str, ...]) -> dict[str, tuple[str, ...]]:
    """The precisions of each runtime of a board: of those named, or of all default ones that it has.

    BackendError where one that is named is missing, or none is there.
    """
    if backends:
        return {name: place.about(name).precisions for name in backends}
    found, why = dict[str, tuple[str, ...]](), list[str]()
    for processor in ("gpu", "cpu"):
        for name in registry.default_backends(processor):
            try:
                about = place.about(name)
            except BackendError as error:
                why.append(str(error))
                continue
            if about.on_gpu == (processor == "gpu"):
                found[name] = about.precisions
        if found:
            return found
    raise PonasError(f"{place.name} has no runtime: {' '.join(why)}")
