"""The rooms and their one-way arrows (docs: DESIGN), read from the imports themselves."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
ROOMS = ("searchspace", "ponas_deploy", "train")
FILES = {
    path.relative_to(ROOT).as_posix(): path for room in ROOMS for path in sorted((ROOT / room).rglob("*.py"))
}

# The rooms, each above all that it imports. `machines` is DESIGN's `devices`: that word is a public function.
FLOORS = (
    ("searchspace",),
    ("ponas_deploy.errors",),
    ("ponas_deploy.machines", "ponas_deploy.files"),
    ("ponas_deploy.tables", "ponas_deploy.backends", "ponas_deploy.boards"),
    (
        "ponas_deploy.search",
        "ponas_deploy.fitting",
        "ponas_deploy.measuring",
        "ponas_deploy.testing",
        "train",
    ),
    ("ponas_deploy.remote",),
    ("ponas_deploy.profiling",),
    ("ponas_deploy.engines",),
    ("ponas_deploy.checks", "ponas_deploy.charts"),
    ("ponas_deploy.commands",),
)
FLOOR = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}
TRAIN_FLOORS = (
    ("train.errors",),
    ("train.compute", "train.settings", "train.progress"),
    ("train.files", "train.fractal"),
    ("train.data",),
    ("train.networks",),
    ("train.stages",),
    ("train.runs",),
)
TRAIN_FLOOR = {room: floor for floor, rooms in enumerate(TRAIN_FLOORS) for room in rooms}

# Where a package may be imported at all, and where even when a file is merely loaded.
PACKAGES = {
    "torch": (["train/*", "ponas_deploy/backends/*"], ["train/*"]),
    "torchvision": (["train/*"], ["train/*"]),
    "timm": (["train/networks/stock.py"], []),
    "PIL": (["ponas_deploy/files/images.py"], []),
    "sklearn": (["train/*"], ["train/data/digits.py"]),
    "onnxruntime": (["ponas_deploy/backends/onnxruntime_sessions.py"], []),
    "openvino": (["ponas_deploy/backends/openvino.py"], []),
    "tensorrt": (["ponas_deploy/backends/*"], []),
    "cuda": (["ponas_deploy/backends/*", "ponas_deploy/machines/nvidia.py"], []),
    "onnx": (
        ["searchspace/graph.py", "ponas_deploy/*"],
        ["searchspace/graph.py", "ponas_deploy/backends/onnx_fx.py"],
    ),
    "safetensors": (["ponas_deploy/*", "train/*"], ["train/*"]),
    "rich": (["ponas_deploy/commands/*"], ["ponas_deploy/commands/reports/*"]),
    "typer": (["ponas_deploy/commands/*"], ["ponas_deploy/commands/*"]),
    "pandas": (["ponas_deploy/*", "train/*"], []),
    "scipy": (["ponas_deploy/*", "train/*"], []),
    "pytest": (["ponas_deploy/backends/contract.py", "ponas_deploy/testing/*"],) * 2,
    "psutil": (["ponas_deploy/*"], []),
    "tomlkit": (["ponas_deploy/boards/book.py"], []),
    "yaml": (["ponas_deploy/files/yaml_documents.py"], []),
    "msgspec": (["ponas_deploy/*", "train/*"], ["ponas_deploy/*", "train/*"]),
    "vl_convert": (["ponas_deploy/charts/drawing.py"], []),
    "platformdirs": (["ponas_deploy/files/home.py", "train/*"], ["train/*"]),
}


@dataclass(frozen=True)
class Import:
    """One imported name: `module` as written, and whether it runs when the file is merely loaded."""

    file: str
    line: int
    module: str
    on_load: bool
    for_types: bool

    def __str__(self) -> str:
        return f"{self.file}:{self.line} imports {self.module}"


def imports_of(file: str) -> Iterator[Import]:
    def walk(node: ast.AST, on_load: bool, for_types: bool) -> Iterator[Import]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.Import):
                for alias in child.names:
                    yield Import(file, child.lineno, alias.name, on_load, for_types)
            elif isinstance(child, ast.ImportFrom):
                assert child.level == 0, f"{file}:{child.lineno}: relative import"
                for alias in child.names:
                    yield Import(file, child.lineno, f"{child.module}.{alias.name}", on_load, for_types)
            else:
                inside = isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
                typed = isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING"
                yield from walk(child, on_load and not inside, for_types or typed)

    yield from walk(ast.parse(FILES[file].read_text(encoding="utf-8")), True, False)


IMPORTS = [found for file in FILES for found in imports_of(file)]


def module_of(file: str) -> str:
    return file.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


MODULES = {module_of(file): file for file in FILES}


def wrong(found: list[Import]) -> None:
    assert not found, "\n".join(map(str, found))


def from_room(room: str) -> list[Import]:
    return [found for found in IMPORTS if found.file.startswith(f"{room}/")]


def test_imports_between_rooms_only_point_down() -> None:
    """Rooms of one floor do not know each other; engines and commands may import `train`, when they run."""
    wrong(
        [
            found
            for found in IMPORTS
            if (above := room_of(module_of(found.file), FLOOR)) != (below := room_of(found.module, FLOOR))
            and above
            and below
            and FLOOR[below] >= FLOOR[above]
        ]
    )


def test_imports_between_the_rooms_of_training_only_point_down() -> None:
    wrong(
        [
            found
            for found in from_room("train")
            if (above := room_of(module_of(found.file), TRAIN_FLOOR))
            != (below := room_of(found.module, TRAIN_FLOOR))
            and above
            and below
            and TRAIN_FLOOR[below] >= TRAIN_FLOOR[above]
        ]
    )


def room_of(module: str, floors: dict[str, int]) -> str:
    """The room that a module or a name in it belongs to; empty for what is no room's."""
    return next((room for room in floors if module == room or module.startswith(f"{room}.")), "")


def test_every_file_is_in_a_room() -> None:
    loose = {module_of(file) for file in FILES} - {"ponas_deploy", "train"}
    assert not {module for module in loose if not room_of(module, FLOOR)}


def test_a_door_defines_nothing() -> None:
    """An `__init__.py` hands names on; those of two packages also say how they load them."""
    lazy = ("ponas_deploy/__init__.py", "searchspace/__init__.py")
    for file in FILES:
        if file.endswith("/__init__.py") and file not in lazy:
            body = ast.parse(FILES[file].read_text(encoding="utf-8")).body
            assert not [node for node in body if isinstance(node, (ast.FunctionDef, ast.ClassDef))], file


def test_train_needs_only_the_spaces_and_three_rooms() -> None:
    rooms = ("errors", "files", "tables", "__version__")
    doors = tuple(f"ponas_deploy.{room}" for room in rooms)
    ours = [i for i in from_room("train") if i.module.startswith("ponas_deploy")]
    wrong([i for i in ours if not i.module.startswith(doors)])


def test_only_engines_and_commands_need_train_and_only_when_they_run() -> None:
    """Weights are inherited and images read there, where the extra `train` is installed."""
    rooms = ("ponas_deploy/engines/", "ponas_deploy/commands/")
    needing = [i for i in from_room("ponas_deploy") if i.module.split(".")[0] == "train"]
    wrong([i for i in needing if not i.file.startswith(rooms) or (i.on_load and not i.for_types)])


def test_nobody_needs_the_commands() -> None:
    inside = "ponas_deploy/commands/"
    wrong([i for i in IMPORTS if "ponas_deploy.commands" in i.module and not i.file.startswith(inside)])


def test_commands_load_no_report_and_no_table_until_they_run() -> None:
    """`ponas --help` must answer at once: what a command needs, it imports inside its function."""
    early = [i for i in from_room("ponas_deploy/commands") if i.on_load and not i.for_types]
    light = ("ponas_deploy.commands", "ponas_deploy.__version__", "searchspace.errors", "typer", "__future__")
    ours = ("ponas_deploy", "searchspace", "train", "numpy", *PACKAGES)
    entered = {name for name, file in MODULES.items() if file in _loaded_by("ponas_deploy.commands")}
    wrong(
        [
            i
            for i in early
            if module_of(i.file) in entered
            and i.module.split(".")[0] in ours
            and not i.module.startswith(light)
        ]
    )


def _loaded_by(module: str) -> set[str]:
    """The files that are loaded with a module, following what runs on load."""
    seen: set[str] = set()
    waiting = [module]
    while waiting:
        file = MODULES[waiting.pop()]
        if file not in seen:
            seen.add(file)
            waiting += [
                n
                for i in IMPORTS
                if i.file == file and i.on_load and not i.for_types
                if (n := _target(i)) is not None
            ]
    return seen


@pytest.mark.parametrize("package", PACKAGES)
def test_a_heavy_package_is_imported_only_where_it_belongs(package: str) -> None:
    allowed, on_load = PACKAGES[package]
    needing = [i for i in IMPORTS if i.module.split(".")[0] == package]
    wrong([i for i in needing if not any(fnmatch(i.file, pattern) for pattern in allowed)])
    early = [i for i in needing if i.on_load and not i.for_types]
    wrong([i for i in early if not any(fnmatch(i.file, pattern) for pattern in on_load)])


def test_nobody_needs_the_tests_that_ship() -> None:
    """They need pytest: the door for authors of runtimes alone loads them."""
    shipped = ("ponas_deploy.testing", "ponas_deploy.backends.contract")
    wrong([i for i in IMPORTS if i.module.startswith(shipped) and "/testing/" not in i.file])


def test_every_package_we_use_has_its_place() -> None:
    """A new dependency is a decision: it is named above, or it is one of these."""
    import sys

    known = {*PACKAGES, *ROOMS, "numpy", "google", *sys.stdlib_module_names}
    wrong([i for i in IMPORTS if i.module.split(".")[0] not in known])


def _target(found: Import) -> str | None:
    """The module of ours that an import loads."""
    name = found.module
    while name and name not in MODULES:
        name = name.rpartition(".")[0]
    return name or None


def test_no_import_goes_in_a_circle() -> None:
    arrows: dict[str, set[str]] = {module: set() for module in MODULES}
    for found in IMPORTS:
        target = _target(found)
        if found.on_load and not found.for_types and target is not None:
            arrows[module_of(found.file)].add(target)
    finished: set[str] = set()

    def visit(module: str, path: tuple[str, ...]) -> None:
        assert module not in path, " -> ".join((*path[path.index(module) :], module))
        if module not in finished:
            for target in sorted(arrows[module] - {module}):
                visit(target, (*path, module))
            finished.add(module)

    for module in MODULES:
        visit(module, ())


def test_the_top_level_is_the_designs() -> None:
    import subprocess

    done = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip("not a git checkout")
    folders = {line.split("/")[0] for line in done.stdout.splitlines() if "/" in line}
    assert folders <= {*ROOMS, "profiles", "tests", "benchmarks", "docs", ".ci", ".github"}
