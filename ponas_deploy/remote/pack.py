"""The pack: the sources that run on a board, in one archive that is named by its SHA-256.

It holds exactly the modules of ours that the board's side imports, when they are loaded and when they run,
found by reading the imports themselves. There they are imported from the archive (`zipimport`). They run on
Python 3.8 and load nothing but the standard library, NumPy and each other; a runtime is imported when its
backend is made.
"""

from __future__ import annotations

import ast
import io
from collections.abc import Iterator
from functools import cache
from hashlib import sha256
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo

from ponas_deploy.backends import registry

ENTRIES = (
    "ponas_deploy.backends",
    "ponas_deploy.measuring.contention",
    "ponas_deploy.measuring.interference",
    "ponas_deploy.measuring.protocol",
    "ponas_deploy.remote.carried",
    "ponas_deploy.remote.steps",
    "ponas_deploy.remote.worker",
)
"""What the board's side begins with."""

_ROOT = Path(__file__).resolve().parents[2]
_OURS = ("ponas_deploy", "searchspace")
_DATE = (1980, 1, 1, 0, 0, 0)
"""The first that an archive can have."""
_UNIX, _MODE = 3, 0o644 << 16


@cache
def pack() -> bytes:
    """The archive: the same bytes for the same sources and the same zlib."""
    archive = io.BytesIO()
    with ZipFile(archive, "w") as written:
        for path in sorted(map(_path_of, modules())):
            entry = ZipInfo(path.relative_to(_ROOT).as_posix(), _DATE)
            entry.compress_type, entry.create_system, entry.external_attr = ZIP_DEFLATED, _UNIX, _MODE
            written.writestr(entry, path.read_bytes(), compresslevel=9)
    return archive.getvalue()


@cache
def pack_sha() -> str:
    """The SHA-256 of the archive, in hex."""
    return sha256(pack()).hexdigest()


@cache
def modules() -> tuple[str, ...]:
    """The names of the modules in it, sorted; packages too."""
    # The modules of runtimes stand in the registry as text, not as imports.
    factories = (entry.factory for entry in registry.ENTRIES if entry.on_boards)
    waiting = [*ENTRIES, *(factory.partition(":")[0] for factory in factories)]
    found: set[str] = set()
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            needed = (*_packages_of(name), *imported(_path_of(name).read_text(encoding="utf-8")))
            waiting += [one for one in needed if _is_module(one)]
    return tuple(sorted(found))


def runs_on_boards(backend: str) -> bool:
    """Whether the archive has a runtime's module; UnknownNameError for a name of none."""
    return registry.entry_of(backend).factory.partition(":")[0] in modules()


def imported(source: str) -> tuple[str, ...]:
    """What of ours a module's source imports, on load or inside a function: modules, and names in them.

    What it imports for type checkers alone is left out.
    """
    return tuple(name for name in _imports(ast.parse(source)) if name.split(".")[0] in _OURS)


def _imports(node: ast.AST) -> Iterator[str]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            yield from (alias.name for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            yield from (child.module or "", *(f"{child.module}.{alias.name}" for alias in child.names))
        elif isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING":
            yield from (name for other in child.orelse for name in _imports(ast.Module([other], [])))
        else:
            yield from _imports(child)


def _packages_of(name: str) -> list[str]:
    """The packages that a module lies in, which are loaded before it."""
    parts = name.split(".")
    return [".".join(parts[:end]) for end in range(1, len(parts))]


def _is_module(name: str) -> bool:
    """Whether it names a module, and not something that one defines."""
    return _path_of(name).is_file()


def _path_of(name: str) -> Path:
    path = _ROOT.joinpath(*name.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
