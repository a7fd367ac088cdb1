"""`ponas schema`: a schema of every document and of every `--json`, and types that hold what is printed."""

from __future__ import annotations

import ast
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from typer.testing import CliRunner, Result

from ponas_deploy.commands import app
from ponas_deploy.commands.schema import DOCUMENTS, PRINTED, found_at, printed_type, schema_named
from ponas_deploy.errors import UnknownNameError
from ponas_deploy.files.documents import Format, encoded
from ponas_deploy.files.schemas import DIALECT
from ponas_deploy.tables.accuracy_file import write_accuracy_table
from ponas_deploy.tables.latency_file import write_latency_table
from sample_tables import accuracy_table, latency_table, write_csv

ROOT = Path(__file__).resolve().parents[2]
Run = Callable[..., Result]

PONAS = ("--latency-table", "ort.json", "--accuracy-table", "accuracy.json")
CSV = ("--latency-table", "latency.csv", "--accuracy-table", "loss.csv")
TWO = ("--latency-table", "ort.json", "--latency-table", "openvino.json")
COMMANDS: tuple[tuple[str, ...], ...] = (
    ("describe", "PONAS-A"),
    ("specialize", *PONAS, "--latency", "95%"),
    ("specialize", *CSV, "--latency", "95%", "--method", "ga"),
    ("specialize", *PONAS, "--latency", "95%", "--params", "5.5M", "--confidence", "0.9"),
    ("pareto", *CSV),
    ("pareto", *TWO, "--accuracy-table", "accuracy.json"),
    ("compare", "PONAS-A", "PONAS-C", *TWO, "--accuracy-table", "accuracy.json"),
    ("compare", "PONAS-A", "--latency-table", "latency.csv"),
    ("table", "import", "lookup_table.txt", "--out", "imported.json"),
    ("table", "fit", "networks.csv", "--out", "fitted.json"),
    ("table", "predict", "ort.json", "published.csv"),
    ("table", "check", "ort.json", "accuracy.json"),
    ("table", "check", "networks.csv"),
    ("table", "diff", "ort.json", "openvino.json"),
    ("table", "diff", "loss.csv", "accuracy.json"),
    ("table", "show", "ort.json"),
    ("table", "show", "latency.csv"),
    ("table", "show", "accuracy.json"),
    ("table", "show", "loss.csv"),
    ("devices",),
    ("weights",),
)
"""Each with its arguments; they take no device and less than a second."""


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """A runner in a folder that holds a table of every kind."""
    monkeypatch.chdir(tmp_path)
    write_latency_table(latency_table(), Path("ort.json"))
    write_latency_table(latency_table("openvino", 0.7), Path("openvino.json"))
    write_accuracy_table(accuracy_table(), Path("accuracy.json"))
    write_csv(Path("latency.csv"), latency_table().grid, "latency_ms")
    write_csv(Path("loss.csv"), accuracy_table().loss, "loss_pp")
    write_networks(Path("networks.csv"))
    Path("lookup_table.txt").write_text("ir_k3 skip\n5129.5 1.5\n2449 0\n")
    grid, rows = latency_table().grid, ["0.5"] * 5
    named = [",".join([*(labels[row] for labels in grid.candidates), ms]) for row, ms in enumerate(rows)]
    Path("published.csv").write_text("\n".join([",".join([*grid.layers, "latency_ms"]), *named]) + "\n")
    return lambda *arguments: CliRunner().invoke(app, list(arguments))


def write_networks(path: Path) -> None:
    """Thirty networks of three layers with latencies."""
    rng, lines = random.Random(0), ["a,b,c,latency_ms"]
    for _ in range(30):
        picked = [rng.randrange(3) for _ in range(3)]
        ms = 1 + sum(picked) * 0.3 + rng.gauss(0, 0.01)
        lines.append(",".join([*(f"k{2 * one + 3}" for one in picked), f"{ms:.6f}"]))
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def command_of(arguments: tuple[str, ...]) -> str:
    """The name that `ponas schema` has for a command line: its longest one."""
    return max((name for name in PRINTED if " ".join(arguments).startswith(name)), key=len)


def printed(result: Result) -> Any:
    assert result.stdout, result.output
    return json.loads(result.stdout)


def refuses(value: Any, kind: Any) -> str:
    """Why a printed document is not of a type; empty where it is, with every key of it declared."""
    try:
        again = encoded(msgspec.convert(value, kind))
    except msgspec.ValidationError as error:
        return str(error)
    return undeclared(value, json.loads(json.dumps(again)))


def undeclared(value: Any, again: Any, where: str = "$") -> str:
    """Where something of a document is not in what its type kept of it; a default may be left out of it."""
    if isinstance(value, dict) and isinstance(again, dict):
        inner = [undeclared(one, again.get(key, "nothing"), f"{where}.{key}") for key, one in value.items()]
    elif isinstance(value, list) and isinstance(again, list) and len(value) == len(again):
        inner = [undeclared(*pair, f"{where}[]") for pair in zip(value, again, strict=True)]
    else:
        inner = ["" if value == again else where]
    return next(filter(None, inner), "")


@pytest.mark.parametrize("arguments", COMMANDS, ids=" ".join)
def test_what_is_printed_is_of_the_declared_type(run: Run, arguments: tuple[str, ...]) -> None:
    document = printed(run(*arguments, "--json"))
    kinds = [printed_type(place) for place in PRINTED[command_of(arguments)]]
    found = [refuses(document, kind) for kind in kinds]
    assert "" in found, found


def test_a_key_that_is_not_declared_is_noticed(run: Run) -> None:
    document = printed(run("describe", "PONAS-A", "--json"))
    (kind,) = (printed_type(place) for place in PRINTED["describe"])
    assert refuses(document, kind) == ""
    assert refuses({**document, "more": 1}, kind)
    assert refuses({key: value for key, value in document.items() if key != "macs"}, kind)
    document["layers"][3]["more"] = 1
    assert refuses(document, kind)


def test_the_names_are_listed(run: Run) -> None:
    assert run("schema").stdout.split("\n") == [*DOCUMENTS, *PRINTED, ""]


@pytest.mark.parametrize("name", [*DOCUMENTS, *PRINTED])
def test_every_name_has_a_schema(run: Run, name: str) -> None:
    found = printed(run("schema", *name.split()))
    assert found["$schema"] == DIALECT
    for form in found.get("anyOf", [found]):
        one = found["$defs"][form["$ref"].rpartition("/")[2]] if "$ref" in form else form
        assert one["type"] == "object"
        assert one["properties"]
        assert set(one["required"]) <= set(one["properties"])
    assert not unresolved(found, found.get("$defs", {}))


def unresolved(schema: Any, definitions: dict[str, Any]) -> list[str]:
    """The `$ref`s in a schema that lead nowhere."""
    if isinstance(schema, list):
        return [missing for inner in schema for missing in unresolved(inner, definitions)]
    if not isinstance(schema, dict):
        return []
    here = schema.get("$ref", "")
    missing = [here] if here and here.removeprefix("#/$defs/") not in definitions else []
    return missing + [one for inner in schema.values() for one in unresolved(inner, definitions)]


def test_a_document_starts_with_its_format() -> None:
    found = schema_named("ponas.latency-table")
    assert next(iter(found["properties"])) == "format"
    assert found["properties"]["format"] == {"type": "string", "const": "ponas.latency-table/2"}
    assert {"format", "space", "conditions", "layers", "certificate"} <= set(found["required"])
    assert "unsettled" not in found["required"]


def test_the_choice_and_the_engine_are_forms_of_specialize_and_so_are_several_engines() -> None:
    found = schema_named("specialize")
    choice, engine, fleet = (found["$defs"][one["$ref"].rpartition("/")[2]] for one in found["anyOf"])
    common = {"method", "optimal", "budget", "choices", "predicted_ms", "predicted_loss_pp", "gap_pp"}
    assert common | {"measured"} <= set(choice["required"])
    assert {*common, "measured", "engine", "params", "macs", "bytes"} <= set(engine["properties"])
    assert fleet["required"] == ["shared", "engines"]
    figures = found["$defs"]["MeasuredFigures"]
    assert {"p50_ms", "p95_ms", "noise_floor_pct"} <= set(figures["required"])


def test_an_unknown_name_is_an_error(run: Run) -> None:
    result = run("schema", "tabel", "fit")
    assert result.exit_code == 1
    with pytest.raises(UnknownNameError, match=r"known are .*specialize"):
        schema_named("tabel fit")


@pytest.mark.parametrize("name", DOCUMENTS)
def test_a_document_is_listed_by_its_name(name: str) -> None:
    kind = found_at(DOCUMENTS[name])
    assert isinstance(kind, Format)
    assert kind.name == name


def test_every_format_is_listed() -> None:
    """Each `Format("name", ...)` in the code has its line in `DOCUMENTS`."""
    files = [path for room in ("ponas_deploy", "train") for path in (ROOT / room).rglob("*.py")]
    calls = [
        node.args[0].value
        for path in files
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == "Format"
        and node.args
        and isinstance(node.args[0], ast.Constant)
    ]
    assert sorted(calls) == sorted(DOCUMENTS)
