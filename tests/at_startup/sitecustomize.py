"""Python imports this first in a process that a test starts, where PYTHONPATH names this folder.

When the package is imported there, it gets the values of `waits.py`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from types import ModuleType

from waits import EXTRA, PAUSES, QUIET, SECONDS


def _retries(module: ModuleType) -> None:
    module.RETRIES = replace(module.RETRIES, **PAUSES, **QUIET, **EXTRA)


def _seconds(module: ModuleType) -> None:
    module.SECONDS = SECONDS


CHANGED: dict[str, Callable[[ModuleType], None]] = {
    "ponas_deploy.measuring.retries": _retries,
    "ponas_deploy.measuring.engine_process": _seconds,
}


class Loader(SourceFileLoader):
    """Changes a module once it is loaded, before anything else is imported from it."""

    def exec_module(self, module: ModuleType) -> None:
        super().exec_module(module)
        CHANGED[module.__name__](module)


class Finder:
    """Finds what is to be changed."""

    @staticmethod
    def find_spec(
        name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        spec = PathFinder.find_spec(name, path, target) if name in CHANGED else None
        if spec is not None and isinstance(spec.loader, SourceFileLoader):  # else of the archive on a board
            spec.loader = Loader(name, spec.loader.path)
        return spec


sys.meta_path.insert(0, Finder)
