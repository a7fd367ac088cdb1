"""What the shell offers for the values of options: names that are known without measuring or reading tables.

Each function takes what is typed so far. Where a name cannot be found out (a device book with a mistake in
it), nothing is offered: a shell has no place for an error. What nothing is offered for may be a file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable


def _offering(names: Callable[[], Iterable[str]]) -> Callable[[str], list[str]]:
    def offered(incomplete: str) -> list[str]:
        from searchspace.errors import PonasError

        try:
            return [name for name in dict.fromkeys(names()) if name.startswith(incomplete)]
        except (PonasError, OSError):
            return []

    return offered


def _spaces() -> Iterable[str]:
    from searchspace.spaces import SPACES

    return SPACES


def _networks() -> Iterable[str]:
    from searchspace.spaces import published
    from searchspace.zoo.registry import published_networks

    return (*published(), *published_networks())


def _boards() -> Iterable[str]:
    from ponas_deploy.boards.book import read_book

    return (name for entry in read_book() for name in entry.names)


def _devices() -> Iterable[str]:
    from ponas_deploy.boards.book import RESERVED

    return (*RESERVED, *_boards(), *(name.partition("/")[0] for name in _latency_tables()))


def _latency_tables() -> Iterable[str]:
    from ponas_deploy.tables.store import table_names

    return table_names("latency")


def _accuracy_tables() -> Iterable[str]:
    from ponas_deploy.tables.store import table_names

    return table_names("accuracy")


def _backends() -> Iterable[str]:
    from ponas_deploy.backends.registry import known_backends

    return known_backends()


def _figures() -> Iterable[str]:
    from ponas_deploy.fitting.board_figures import board_figures

    return (board.name for board in board_figures().boards)


def _documents() -> Iterable[str]:
    from ponas_deploy.commands.schema import DOCUMENTS, PRINTED

    return (*DOCUMENTS, *PRINTED)


def _stock() -> Iterable[str]:
    from ponas_deploy.engines.stock import STOCK

    return ("none", *(network.constructor for network in STOCK))


spaces, networks, boards, devices = map(_offering, (_spaces, _networks, _boards, _devices))
latency_tables, accuracy_tables = map(_offering, (_latency_tables, _accuracy_tables))
backends, figures, documents, stock = map(_offering, (_backends, _figures, _documents, _stock))
tables = _offering(lambda: (*_latency_tables(), *_accuracy_tables()))
