"""The public list: exactly these names, typed and lazy, each with a docstring that says what it needs to."""

from __future__ import annotations

import ast
import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest

import ponas_deploy as ponas

FUNCTIONS = (
    "space",
    "profile",
    "accuracy_table",
    "latency_table",
    "specialize",
    "shortlist",
    "pareto_front",
    "deploy",
    "export",
    "export_ahead",
    "verify",
    "recheck",
    "fit_table",
    "import_table",
    "predict",
    "check_machine",
    "devices",
    "load_engine",
    "measure_model",
    "compare_networks",
    "report",
)
VALUES = (
    "Space",
    "Architecture",
    "Target",
    "Conditions",
    "LatencyTable",
    "AccuracyTable",
    "Measurement",
    "Certificate",
    "Budget",
    "Specialization",
    "ParetoFront",
    "Engine",
    "Verification",
    "WeightsSource",
    "Finding",
    "Backend",
    "Session",
    "RunSettings",
    "FakeBackend",
)
ERRORS = (
    "ArchitectureError",
    "BackendError",
    "BudgetError",
    "FileFormatError",
    "MeasurementError",
    "MissingExtraError",
    "OverwriteError",
    "PonasError",
    "SpaceError",
    "TableMismatchError",
    "UnknownNameError",
    "WeightsError",
)
DOOR = Path(ponas.__file__)
HEAVY = ("numpy", "onnx", "onnxruntime", "openvino", "torch", "pandas", "typer", "rich", "searchspace")
UNITS = re.compile(r"_(ns|ms|pp|pct|px|mib|mhz|s|c)$")
RAISES_NOTHING = {"devices"}


def test_the_list_is_exactly_this() -> None:
    assert ponas.__all__ == ["__version__", *FUNCTIONS, *VALUES, *ERRORS]
    assert dir(ponas) == sorted(ponas.__all__)
    assert ponas.__version__


def test_every_name_resolves_and_no_other_does() -> None:
    for name in FUNCTIONS:
        assert inspect.isfunction(getattr(ponas, name)), name
    for name in (*VALUES, *ERRORS):
        assert inspect.isclass(getattr(ponas, name)), name
    assert all(issubclass(getattr(ponas, name), ponas.PonasError) for name in ERRORS)
    with pytest.raises(AttributeError, match="no attribute 'Wish'"):
        ponas.Wish  # noqa: B018


def test_the_error_tree_is_whole() -> None:
    from ponas_deploy import errors

    assert sorted(name for name in errors.__all__ if name.endswith("Error")) == list(ERRORS)


def test_importing_loads_nothing_but_the_door() -> None:
    code = (
        "import sys; before = set(sys.modules); import ponas_deploy; after = set(sys.modules) - before;"
        "print(sorted(after))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=DOOR.parents[1]
    )
    loaded = ast.literal_eval(done.stdout)
    assert not [name for name in loaded if name.split(".")[0] in HEAVY]
    assert [name for name in loaded if name.startswith("ponas_deploy")] == ["ponas_deploy"]


def test_the_typed_list_and_the_lazy_table_agree() -> None:
    """`__init__.pyi` imports from the same places, under the same names."""
    typed = {}
    for node in ast.parse(DOOR.with_suffix(".pyi").read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ImportFrom):
            typed |= {alias.asname: f"{node.module}:{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Assign):
            assert sorted(ast.literal_eval(node.value)) == sorted(ponas.__all__)
    assert typed == ponas._PLACES  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", [*FUNCTIONS, *VALUES, *ERRORS])
def test_every_name_has_a_docstring(name: str) -> None:
    text = inspect.getdoc(getattr(ponas, name)) or ""
    assert text.rstrip().endswith(".")
    first = text.split("\n\n")[0]
    assert len(first) > 20, "its first sentence says what it is"
    assert not first.startswith(f"{name}(")  # the signature that a dataclass without a docstring gets


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_functions_docstring_names_what_comes_in_and_what_is_raised(name: str) -> None:
    function = getattr(ponas, name)
    text = inspect.getdoc(function) or ""
    assert len(re.findall(r"[.:;](?:\s|$)", text)) > 1, "more than one sentence"
    for parameter in inspect.signature(function).parameters:
        named = re.search(rf"\b{parameter}\b", text)
        assert named or UNITS.search(parameter), f"{name} does not say what {parameter} is"
    if name not in RAISES_NOTHING:
        assert re.search(r"\b(\w+Error)\b", text), f"{name} does not say what it raises"
        assert all(hasattr(ponas, error) for error in re.findall(r"\b[A-Z]\w+Error\b", text))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_public_signature_is_typed(name: str) -> None:
    signature = inspect.signature(getattr(ponas, name))
    assert signature.return_annotation is not inspect.Signature.empty
    assert all(p.annotation is not inspect.Parameter.empty for p in signature.parameters.values())


@pytest.mark.parametrize("name", FUNCTIONS)
def test_quantities_carry_their_unit(name: str) -> None:
    """A number that comes in has its unit in its name, or its docstring names one."""
    function = getattr(ponas, name)
    text = inspect.getdoc(function) or ""
    units = ("millisecond", "second", "pixel", "percent", "share", "epochs", "at most so much", "CSV")
    for parameter in inspect.signature(function).parameters.values():
        if "float" in str(parameter.annotation) and not UNITS.search(parameter.name):
            assert any(unit in text for unit in units), f"{name}: {parameter.name} has no unit"
