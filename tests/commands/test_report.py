"""`ponas report`: files written, one document printed, and a sentence for whatever is wrong."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import msgspec
import pytest
from typer.testing import CliRunner, Result

from ponas_deploy.charts.written import ReportDocument
from ponas_deploy.commands import app
from ponas_deploy.tables.accuracy_file import write_accuracy_table
from ponas_deploy.tables.latency_file import write_latency_table
from sample_tables import accuracy_table, latency_table, write_csv

PONAS = ("--latency-table", "ort.json", "--accuracy-table", "accuracy.json")


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["report", *arguments])


@pytest.fixture(autouse=True)
def _tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_latency_table(latency_table(), Path("ort.json"))
    write_latency_table(latency_table("openvino", 0.7), Path("openvino.json"))
    write_accuracy_table(accuracy_table(), Path("accuracy.json"))
    write_csv(Path("latency.csv"), latency_table().grid, "latency_ms")
    write_csv(Path("loss.csv"), accuracy_table().loss, "loss_pp")


def test_the_page_and_the_document(tmp_path: Path) -> None:
    pytest.importorskip("vl_convert", reason="vl-convert, which draws the charts, is not installed")
    result = run(*PONAS, "--latency-table", "openvino.json", "--format", "svg,html", "--json")
    assert result.exit_code == 0, result.output
    found = msgspec.convert(json.loads(result.stdout), ReportDocument)
    assert [one.key for one in found.charts][:2] == ["front-1", "loss-1"]
    assert found.files[0].path == "report.html"
    assert {one.kind for one in found.files} == {"html", "svg"}
    assert all(Path(one.path).stat().st_size == one.bytes for one in found.files)
    front = found.charts[0]
    assert {row[0] for row in front.rows} == {"onnxruntime", "openvino"}
    assert all(len(row) == len(front.columns) for row in front.rows)
    assert "test-board" in Path("report.html").read_text()


def test_tables_of_anybody_as_csv() -> None:
    pytest.importorskip("vl_convert", reason="vl-convert, which draws the charts, is not installed")
    result = run("--latency-table", "latency.csv", "--accuracy-table", "loss.csv", "--out", "theirs.html")
    assert result.exit_code == 0, result.output
    assert "theirs.html: 3 charts" in result.stdout
    again = run("--latency-table", "latency.csv", "--accuracy-table", "loss.csv", "--out", "theirs.html")
    assert again.exit_code == 1
    assert "--force" in again.output


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("--format", "html,gif"), 2, "gif"),
        (("--format", ","), 2, "names nothing"),
        (("--out", "report.pdf"), 2, "name it .html"),
        (("--threads", "2"), 2, "only with --device"),
        ((), 1, "your store has no latency table"),
        (("--space", "ponas"), 1, "no latency table of space ponas"),
        (("--latency-table", "nothing.json"), 1, "no such file"),
        (("--compared", "ort.json", *PONAS), 1, "comparisons"),
        (("--engine", "nowhere", *PONAS), 1, "no such file"),
        (("--stock-layers", "no-such-net", *PONAS), 1, "no-such-net"),
    ],
)
def test_what_is_wrong_is_said(arguments: tuple[str, ...], code: int, said: str) -> None:
    pytest.importorskip("vl_convert", reason="vl-convert, which draws the charts, is not installed")
    result = run(*arguments)
    assert result.exit_code == code, result.output
    assert said in result.output
    assert not list(Path().glob("*.html"))


def test_without_the_extra_nothing_is_begun(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "vl_convert", None)
    result = run(*PONAS)
    assert result.exit_code == 1
    assert "pip install 'ponas-deploy[report]'" in result.output
