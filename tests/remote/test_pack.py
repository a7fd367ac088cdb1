"""What is sent to a board: small, the same every time, and able to run where there is only NumPy."""

from __future__ import annotations

import ast
import builtins
import json
import os
import shutil
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Iterator
from fnmatch import fnmatch
from hashlib import sha256
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path
from zipfile import ZipFile

import psutil
import pytest
import tomlkit
from platformdirs import user_data_dir

from ponas_deploy.backends.registry import ENTRIES
from ponas_deploy.profiling.models import block_model, blocks_of
from ponas_deploy.remote.pack import imported, modules, pack, pack_sha
from searchspace import SPACES

ROOT = Path(__file__).resolve().parents[2]
with ZipFile(BytesIO(pack())) as _archive:
    SOURCES = {name: _archive.read(name).decode() for name in _archive.namelist()}

# --- what it holds


def test_it_is_the_same_in_every_process_and_small() -> None:
    assert pack_sha() == sha256(pack()).hexdigest()
    assert len(pack()) < 250_000
    code = "from ponas_deploy.remote.pack import pack_sha; print(pack_sha())"
    for seed in ("1", "2"):  # of the order of sets
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONHASHSEED": seed}
        done = subprocess.run(
            [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
        )
        assert done.stdout.strip() == pack_sha()


def test_it_holds_the_sources_of_its_modules() -> None:
    assert len(SOURCES) == len(modules())
    assert list(SOURCES) == sorted(SOURCES)
    for name, source in SOURCES.items():
        assert source == (ROOT / name).read_text(encoding="utf-8"), name


def test_every_runtime_of_boards_is_in_it_and_torch_is_not() -> None:
    missing = {one.name for one in ENTRIES if one.factory.partition(":")[0] not in modules()}
    assert missing == {"torch", "torch-eager", "torch-compile"}


def test_imports_are_found_wherever_they_stand_but_for_those_of_types() -> None:
    source = """
        from typing import TYPE_CHECKING

        import numpy
        import searchspace.errors
        if TYPE_CHECKING:
            from ponas_deploy.files import journal
        else:
            import ponas_deploy.errors
        def late():
            if numpy:
                from ponas_deploy.files import scratch
    """
    found = imported(textwrap.dedent(source))
    assert set(found) == {
        "searchspace.errors",
        "ponas_deploy.errors",
        "ponas_deploy.files",
        "ponas_deploy.files.scratch",
    }


# --- where it runs

BOARD = """
    import json, sys

    pack, packages = sys.argv[1:3]
    sys.path[:0] = [pack]
    sys.path.append(packages)
    sys.dont_write_bytecode = True
"""


@pytest.fixture
def empty(tmp_path: Path) -> Path:
    """The folder that the board's process works in; the pack lies beside it."""
    if sys.platform == "win32":
        pytest.skip("boards run Linux")
    (tmp_path / "pack.zip").write_bytes(pack())
    (tmp_path / "empty").mkdir()
    return tmp_path / "empty"


def on_board(empty: Path, code: str, *arguments: str, packages: tuple[str, ...] = ("numpy",)) -> str:
    """What a fresh Python prints that has the standard library, the pack and these packages alone.

    `-I -S`: no environment, no folder of the user's, no site-packages.
    """
    folder = empty.parent / "packages"
    folder.mkdir()
    for package in packages:
        spec = find_spec(package)
        assert spec is not None
        assert spec.origin is not None
        for part in Path(spec.origin).parent.parent.glob(f"{package}*"):  # with the libraries beside it
            (folder / part.name).symlink_to(part)
    return run_board([sys.executable, "-I", "-S"], empty, code, str(folder), *arguments)


def run_board(python: list[str], empty: Path, code: str, packages: str, *arguments: str) -> str:
    done = subprocess.run(
        [
            *python,
            "-c",
            textwrap.dedent(BOARD) + textwrap.dedent(code),
            str(empty.parent / "pack.zip"),
            packages,
            *arguments,
        ],
        cwd=empty if empty.is_dir() else None,
        env={"PATH": os.environ["PATH"], "HOME": str(empty)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


IMPORTS = """
    import builtins, functools, importlib
    builtins.compile = functools.lru_cache(None)(compile)  # a source is loaded many times: once is enough
    OURS, seen = ("ponas_deploy", "searchspace"), set()
    for name in sys.argv[3:]:
        for loaded in [one for one in sys.modules if one.split(".")[0] in OURS]:
            del sys.modules[loaded]  # each is loaded as the first one
        module = importlib.import_module(name)
        assert module.__file__.startswith(pack), module.__file__
        seen.update(one.split(".")[0] for one in sys.modules)
    print(json.dumps(sorted(seen)))
"""


def test_each_module_loads_from_the_archive_with_numpy_alone(empty: Path) -> None:
    loaded = set(json.loads(on_board(empty, IMPORTS, *modules())))
    assert loaded - sys.stdlib_module_names == {"__main__", "numpy", "ponas_deploy", "searchspace"}


def test_nothing_else_is_in_reach_there(empty: Path) -> None:
    code = """
        from importlib.util import find_spec
        print(json.dumps([name for name in sys.argv[3:] if find_spec(name)]))
    """
    names = ("msgspec", "numpy", "onnx", "platformdirs", "ponas_deploy.commands", "psutil", "rich", "train")
    assert json.loads(on_board(empty, code, *names)) == ["numpy"]


@pytest.mark.parametrize("version", ["3.8", "3.9"])
def test_each_module_loads_in_an_old_python(empty: Path, version: str) -> None:
    python = shutil.which(f"python{version}") or sys.executable
    done = subprocess.run([python, "-I", "-c", "import numpy, sys; print(sys.version)"], capture_output=True)
    if not done.stdout.startswith(version.encode()):
        pytest.skip(f"there is no python{version} with NumPy")
    assert "numpy" in run_board([python, "-I"], empty, IMPORTS, str(empty), *modules())


@pytest.mark.skipif(
    not os.environ.get("PONAS_TEST_ROOT"),
    reason="PONAS_TEST_ROOT names no root file system of a board, as root makes one with"
    " `mmdebstrap --variant=minbase --include=python3,python3-numpy bullseye FOLDER`",
)
def test_each_module_loads_in_another_system() -> None:
    root = os.environ["PONAS_TEST_ROOT"]
    with tempfile.TemporaryDirectory(dir=Path(root, "tmp")) as folder:
        Path(folder, "pack.zip").write_bytes(pack())
        inside = Path("/tmp", Path(folder).name, "empty")
        assert "numpy" in run_board(
            ["chroot", root, "python3", "-I"], inside, IMPORTS, str(inside), *modules()
        )


def test_what_needs_the_package_onnx_says_so_there(empty: Path) -> None:
    code = """
        from ponas_deploy.backends.onnx_precision import read_model
        from ponas_deploy.errors import BackendError
        try:
            read_model("tensorrt", b"")
        except BackendError as error:
            print(error)
    """
    said = "tensorrt: the package onnx cannot be imported (No module named 'onnx'): pip install onnx."
    assert on_board(empty, code).strip() == said


MEASUREMENT = """
    from dataclasses import asdict
    from pathlib import Path
    from ponas_deploy.backends import RunSettings, get_backend
    from ponas_deploy.files.home import home
    from ponas_deploy.machines.machine import memory_mib
    from ponas_deploy.measuring.contention import ContentionProbe
    from ponas_deploy.measuring.interference import between, take_snapshot
    from ponas_deploy.measuring.protocol import Plan, first_estimate, take_sample

    plan, before, backend = Plan(), take_snapshot(), get_backend(sys.argv[3])
    with backend.load(Path(sys.argv[4]).read_bytes(), RunSettings()) as session:
        runs, run_ns = first_estimate(session, plan)
        sample_ns, _ = ContentionProbe().take_quiet(lambda: take_sample(session, runs, plan))
    after = take_snapshot()
    found = {
        "runs": runs,
        "run_ns": run_ns,
        "sample_ns": sample_ns,
        "seconds": after.counters.at_s - before.counters.at_s,
        "own_s": after.counters.own_s - before.counters.own_s,
        "round": asdict(between(0, before, after)),
        "runtime": dict(backend.environment())["runtime"],
        "memory_mib": [memory_mib("total"), memory_mib("available")],
        "home": str(home()),
    }
    print(json.dumps(found))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="boards run Linux")
@pytest.mark.parametrize("name", ["onnxruntime", "openvino"])
def test_a_runtime_is_measured_from_the_archive(
    empty: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip(name)
    model = empty.parent / "block.onnx"
    block = next(iter(blocks_of(SPACES["ponas"](32, 2)).items()))
    model.write_bytes(block_model(*block, batch=1))
    found = json.loads(on_board(empty, MEASUREMENT, name, str(model), packages=("numpy", name)))
    assert found["runtime"].startswith(name)
    assert found["runs"] >= 1
    assert 0 < found["run_ns"] < found["seconds"] * 1e9
    assert 0 < found["runs"] * found["sample_ns"] < found["seconds"] * 1e9
    assert found["own_s"] > 0
    assert found["round"]["number"] == 0
    # What the system's files say where psutil and platformdirs are not there.
    total_mib, available_mib = found["memory_mib"]
    assert total_mib == psutil.virtual_memory().total >> 20
    assert 0 < available_mib <= total_mib
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    monkeypatch.setenv("HOME", str(empty))
    assert found["home"] == user_data_dir("ponas-deploy", appauthor=False)
    assert list(empty.iterdir()) == []


# --- what Python 3.8 cannot run


def too_new(source: str) -> Iterator[str]:
    """What of a module Python 3.8 refuses or evaluates and fails on, each with its line."""
    try:
        tree = ast.parse(source, feature_version=(3, 8))
    except SyntaxError as error:
        yield f"{error.lineno}: {error.msg}"
        return
    later = any(isinstance(node, ast.ImportFrom) and node.module == "__future__" for node in tree.body)
    imports = {
        alias.asname or alias.name: node.module or ""
        for node in evaluated(tree, annotations=not later)
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    for node in evaluated(tree, annotations=not later):
        if reason := reason_against(node, imports):
            yield f"{getattr(node, 'lineno', 0)}: {reason}"


def evaluated(node: ast.AST, *, annotations: bool) -> Iterator[ast.AST]:
    """The nodes that run: not those for type checkers, nor annotations where they are text."""
    for field, value in ast.iter_fields(node):
        if field in ("annotation", "returns") and not annotations:
            continue
        for child in value if isinstance(value, list) else [value]:
            if not isinstance(child, ast.AST):
                continue
            if isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING":
                for other in child.orelse:
                    yield from (other, *evaluated(other, annotations=annotations))
            else:
                yield from (child, *evaluated(child, annotations=annotations))


GENERIC_LATER = (
    "collections",
    "collections.abc",
    "contextlib",
    "os",
    "queue",
    "re",
    "subprocess",
    "tempfile",
)
"""Where classes stand that take types in brackets from Python 3.9 on."""
LATER = {
    "functools": {"cache"},
    "itertools": {"pairwise", "batched"},
    "typing": {"Annotated", "Concatenate", "NotRequired", "ParamSpec", "Self", "TypeAlias", "TypeGuard"},
    "contextlib": {"aclosing", "chdir"},
    "math": {"lcm", "nextafter", "ulp"},
}
LATER_METHODS = {"removeprefix", "removesuffix", "is_relative_to", "bit_count", "with_stem", "hardlink_to"}
LATER_KEYWORDS = {"dataclass": {"slots", "kw_only", "match_args"}, "field": {"kw_only"}, "zip": {"strict"}}


def reason_against(node: ast.AST, imports: dict[str, str]) -> str:
    """What Python 3.8 cannot do with a node that runs; empty where it can."""
    text = ast.unparse(node) if isinstance(node, ast.expr) else ""
    if isinstance(node, ast.ImportFrom):
        names = {alias.name for alias in node.names} & LATER.get(node.module or "", set())
        return f"imports {', '.join(sorted(names))}" if names else ""
    if isinstance(node, ast.Subscript):
        return text if is_type_of_later(node.value, imports) else ""
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
        return text if any(is_type(side) for side in (node.left, node.right)) else ""
    if isinstance(node, ast.Call):
        called = node.func.attr if isinstance(node.func, ast.Attribute) else ast.unparse(node.func)
        given = {keyword.arg for keyword in node.keywords} & LATER_KEYWORDS.get(called, set())
        return text if given or (isinstance(node.func, ast.Attribute) and called in LATER_METHODS) else ""
    if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
        return next((text for one in node.decorator_list if (text := decorator_fault(one))), "")
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
        return text if node.attr in LATER.get(node.value.id, set()) else ""
    return ""


def decorator_fault(node: ast.expr) -> str:
    """Python 3.8 takes dotted names and one call of one, nothing else."""
    dotted = node.func if isinstance(node, ast.Call) else node
    while isinstance(dotted, ast.Attribute):
        dotted = dotted.value
    return "" if isinstance(dotted, ast.Name) else f"@{ast.unparse(node)}"


def is_type(node: ast.expr) -> bool:
    if isinstance(node, ast.Constant):
        return node.value is None
    return isinstance(node, ast.Name) and isinstance(getattr(builtins, node.id, None), type)


def is_type_of_later(node: ast.expr, imports: dict[str, str]) -> bool:
    """Whether it is a class of the standard library that takes types in brackets from Python 3.9 on."""
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
        return node.value.id in GENERIC_LATER and node.attr[:1].isupper()
    return isinstance(node, ast.Name) and (is_type(node) or imports.get(node.id) in GENERIC_LATER)


@pytest.mark.parametrize("name", SOURCES)
def test_python_3_8_runs_it(name: str) -> None:
    assert list(too_new(SOURCES[name])) == []


@pytest.mark.parametrize(
    "code",
    [
        "found = list[int]()",
        "from collections.abc import Callable\nOnDone = Callable[[int], None]",
        "from collections import deque\nfound = deque[int]()",
        "import subprocess\nclass Process(subprocess.Popen[bytes]): ...",
        "def f(x: list[int]) -> None: ...",
        "isinstance(1, int | str)",
        "Maybe = None | str",
        "match 1:\n    case 1: pass",
        "with (open('a') as a, open('b') as b): pass",
        "from functools import cache",
        "import functools\n@functools.cache\ndef f(): ...",
        "from typing import TypeAlias",
        "from dataclasses import dataclass\n@dataclass(slots=True)\nclass A: ...",
        "list(zip('a', 'b', strict=True))",
        "'abc'.removeprefix('a')",
        "@(lambda f: f)\ndef f(): ...",
    ],
)
def test_what_python_3_8_cannot_run_is_noticed(code: str) -> None:
    compile(code, "code", "exec")
    assert len(list(too_new(code))) == 1


def test_annotations_that_stay_text_are_none_of_that() -> None:
    code = """
        from __future__ import annotations
        from typing import TYPE_CHECKING
        if TYPE_CHECKING:
            from typing import TypeAlias
        kept: list[int] = []
        def f(x: int | str) -> TypeAlias: ...
    """
    assert list(too_new(textwrap.dedent(code))) == []


def test_vermin_knows_nothing_in_it_that_python_3_8_lacks(tmp_path: Path) -> None:
    pytest.importorskip("vermin", reason="vermin is not installed: pip install 'ponas-deploy[dev]'")
    with ZipFile(BytesIO(pack())) as archive:
        archive.extractall(tmp_path)
    program = (sys.executable, "-c", "from vermin import main; main()")
    command = (*program, "-t=3.8-", "--violations", "--no-tips", str(tmp_path))
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    (tmp_path / "later.py").write_text("from functools import cache\n")
    assert subprocess.run(command, capture_output=True, check=False).returncode == 1


def test_ruff_holds_it_to_python_3_8() -> None:
    """Else it asks for what newer Pythons have."""
    settings = tomlkit.parse((ROOT / "pyproject.toml").read_text(encoding="utf-8")).unwrap()
    listed = settings["tool"]["ruff"]["per-file-target-version"]
    old = [pattern for pattern, version in listed.items() if version == "py38"]
    assert [name for name in SOURCES if not any(fnmatch(name, pattern) for pattern in old)] == []
