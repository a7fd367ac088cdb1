"""Measured networks from files: what `compare` prints, CSV, and what is neither."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ponas_deploy.charts.stock import MeasuredPoint, read_compared
from ponas_deploy.engines.compared import Entry, Top1, compared
from ponas_deploy.engines.comparison_document import comparisons_document
from ponas_deploy.engines.interleaved import Interleaved
from ponas_deploy.errors import FileFormatError
from ponas_deploy.files.documents import encoded
from ponas_deploy.tables.latency import Conditions

BOARD = Conditions("board", "onnxruntime", "fp32", 1, 1)


def printed() -> Any:
    """What `ponas compare --json` prints of two networks."""
    entries = (
        Entry("s", "small", "stock", 224, Top1(70.0, "published", "timm lamb")),
        Entry("m", "mine.onnx", "own", None, None),
    )
    timing = Interleaved({"s": (2.0, 2.0, 2.0), "m": (3.0, 3.0, 3.0)}, 90, 0.0, "")
    return encoded(comparisons_document([compared(entries, timing, BOARD)]))


def test_what_compare_prints_is_read_back(tmp_path: Path) -> None:
    path = tmp_path / "compared.json"
    path.write_text(json.dumps(printed()))
    (found,) = read_compared(path)
    assert found.conditions == BOARD
    small, mine = found.networks
    assert (small.name, small.kind, small.latency_ms, small.top1_pct, small.front) == (
        "small",
        "stock network",
        2.0,
        70.0,
        "on",
    )
    assert small.top1_is == "published, timm lamb"
    assert (mine.kind, mine.top1_pct, mine.resolution_px) == ("model of yours", None, None)


def test_a_csv_has_its_columns_in_any_order(tmp_path: Path) -> None:
    path = tmp_path / "stock.csv"
    path.write_text("top1_pct,network,params,latency_ms\n75.5,net a,5,2.5\n-,net b,6,3\n")
    (found,) = read_compared(path)
    assert found.conditions is None
    assert found.networks == (
        MeasuredPoint("net a", "stock network", 2.5, 75.5, "said by stock.csv"),
        MeasuredPoint("net b", "stock network", 3.0, None, "said by stock.csv"),
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("network,latency_ms\na,1\n", "line 1: .* lacks top1_pct"),
        ("network,latency_ms,top1_pct\n", "no network follows"),
        ("network,latency_ms,top1_pct\na,1\n", "line 2: has 2 fields"),
        ("network,latency_ms,top1_pct\na,fast,70\n", "line 2, latency_ms: is 'fast'"),
        ("network,latency_ms,top1_pct\na,nan,70\n", "line 2, latency_ms: is 'nan'"),
        ("network,latency_ms,top1_pct\na,0,70\n", "line 2, latency_ms: is not above zero"),
        ("network,latency_ms,top1_pct\na,1,170\n", "line 2, top1_pct: is 170"),
        ('{"points": []}', "ponas compare --device cpu --json"),
        ('{"comparisons": [{}]}', r"comparisons\[0\].device"),
        ("{", "is not valid JSON"),
    ],
)
def test_faults_are_named(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "file"
    path.write_text(text)
    with pytest.raises(FileFormatError, match=said):
        read_compared(path)


def test_a_key_that_no_comparison_has_is_passed_over(tmp_path: Path) -> None:
    """A newer version may print more."""
    document = printed()
    document["comparisons"][0]["more"] = 1
    (tmp_path / "newer.json").write_text(json.dumps(document))
    assert len(read_compared(tmp_path / "newer.json")[0].networks) == 2
