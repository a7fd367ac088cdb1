"""What is given in the place of a table or an architecture is told by its content, with what to do."""

from __future__ import annotations

import gzip
import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from ponas_deploy.errors import PonasError
from ponas_deploy.files.weights import write_weights
from ponas_deploy.tables.architectures import architecture_in
from ponas_deploy.tables.files import load_accuracy_table, load_latency_table
from searchspace import build_space


def zipped(path: Path, *names: str) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            archive.writestr(name, "content")


def text(content: str) -> Callable[[Path], object]:
    return lambda path: path.write_text(content)


def office(path: Path) -> None:
    zipped(path, "[Content_Types].xml", "xl/workbook.xml")


KINDS: dict[str, tuple[Callable[[Path], object], str]] = {
    "sheet.xlsx": (office, "is a spreadsheet, no {}: save its sheet as CSV"),
    "renamed.csv": (office, "is a spreadsheet, no {}: save its sheet as CSV"),
    "packed.json": (
        lambda path: path.write_bytes(gzip.compress(b"{}")),
        "is compressed with gzip: unpack it",
    ),
    "net.txt": (
        lambda path: zipped(path, "net/data.pkl"),
        "is a file of weights, no {}: name it",
    ),
    "w": (lambda path: write_weights(path, {"a": np.zeros(2, np.float32)}, {}), "is a file of weights"),
    "a.npy": (lambda path: np.save(path, np.zeros(3)), "is a NumPy array, no {}"),
    "page.csv": (text("\n<!DOCTYPE html><html>"), "is a web page (HTML or XML), not the file"),
    "lfs.json": (text("version https://git-lfs.github.com/spec/v1\n"), "is a Git LFS pointer, not the file"),
    "utf16.csv": (lambda path: path.write_text("layer", encoding="utf-16"), "is text in UTF-16, no {}"),
    "any.yaml": (text("a: 1\n"), "is YAML, no {}: of YAML only once-for-all's"),
    "ofa.txt": (
        text("Conv-input:224x224x3-output:112x112x16:\n  mean: 1\n"),
        "is once-for-all's latency table, no {}: `ponas table import ",
    ),
    "settings.json": (text('{"ks": [3], "e": [4], "d": [2], "r": [224]}'), "is a network of once-for-all"),
    "net.config": (text('{"name": "x", "first_conv": {}, "blocks": []}'), "is a network of once-for-all"),
}


@pytest.mark.parametrize("name", KINDS)
def test_another_kind_of_file_is_named(name: str, tmp_path: Path) -> None:
    write, said = KINDS[name]
    path = tmp_path / name
    write(path)
    for expected, read in (
        ("table in CSV or JSON", load_latency_table),
        ("table in CSV or JSON", load_accuracy_table),
        ("architecture", lambda path: architecture_in(str(path), build_space("ponas"))),
    ):
        with pytest.raises(PonasError) as error:
            read(path)
        assert said.format(expected) in str(error.value)
        assert str(error.value).endswith(".")


def test_a_model_is_told_by_its_content(tmp_path: Path, model: bytes) -> None:
    (tmp_path / "model").write_bytes(model)
    with pytest.raises(PonasError, match=r"is an ONNX model, no table .*: `ponas measure .*model` times it"):
        load_latency_table(tmp_path / "model")


def test_a_csv_of_any_name_is_read_and_a_header_without_columns_is_said(tmp_path: Path) -> None:
    (tmp_path / "t.txt").write_text("layer;candidate;latency_ms\n1;a;0,5\n")
    assert load_latency_table(tmp_path / "t.txt").grid.values == ((0.5,),)
    (tmp_path / "t.txt").write_text("op,ms\na,1\n")
    with pytest.raises(
        PonasError, match=r"line 1: the header is 'op,ms', expected layer,candidate,latency_ms"
    ):
        load_latency_table(tmp_path / "t.txt")


def test_a_network_where_a_table_is_asked_for_and_a_table_where_a_network_is(tmp_path: Path) -> None:
    (tmp_path / "net.json").write_text(json.dumps({"choices": ["a", "b"]}))
    with pytest.raises(PonasError, match=r"is a network, no 'ponas\.latency-table/2': `ponas compare "):
        load_latency_table(tmp_path / "net.json")
    (tmp_path / "table.json").write_text(json.dumps({"format": "ponas.latency-table/2"}))
    with pytest.raises(PonasError, match=r"no list 'choices' .* it is 'ponas\.latency-table/2'"):
        architecture_in(str(tmp_path / "table.json"), build_space("ponas"))
    (tmp_path / "table.csv").write_text("layer,candidate,latency_ms\n1,a,1\n")
    with pytest.raises(PonasError, match="is a CSV table, no architecture"):
        architecture_in(str(tmp_path / "table.csv"), build_space("ponas"))


def test_a_list_of_labels_is_an_architecture_and_what_is_nested_deeply_none(tmp_path: Path) -> None:
    space = build_space("ponas")
    (tmp_path / "a.json").write_text(json.dumps(["k3e3"] * 19))
    assert architecture_in(str(tmp_path / "a.json"), space).choices == ("k3e3",) * 19
    (tmp_path / "a.json").write_text("[" * 9000 + "]" * 9000)
    with pytest.raises(PonasError, match="nested more than 64 deep"):
        architecture_in(str(tmp_path / "a.json"), space)
    with pytest.raises(PonasError, match="is a folder, no architecture: name a file in it"):
        architecture_in(str(tmp_path), space)
