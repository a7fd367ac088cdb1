"""Reports as text at a fixed width: what a person sees, whole."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from io import StringIO
from pathlib import Path
from textwrap import dedent

import numpy as np
import pytest
from rich.console import Console, RenderableType

from ponas_deploy.checks.table_file import CheckedTable
from ponas_deploy.commands.reports.check import check_report
from ponas_deploy.commands.reports.compare import compare_report
from ponas_deploy.commands.reports.describe import describe_report
from ponas_deploy.commands.reports.diff import diff_report
from ponas_deploy.commands.reports.pareto import comparison_report, front_report
from ponas_deploy.commands.reports.style import AtCommas, counted, digits, table
from ponas_deploy.commands.reports.tables import table_report
from ponas_deploy.files.findings import Finding
from ponas_deploy.search.comparison import NamedFront, compare_fronts
from ponas_deploy.search.frontier import Front
from ponas_deploy.search.predictions import NetworkPrediction
from ponas_deploy.tables.accuracy import AccuracyTable
from ponas_deploy.tables.diff import diff_tables
from ponas_deploy.tables.grid import Grid, SpaceKey
from ponas_deploy.tables.latency import Certificate, Conditions, LatencyTable
from sample_tables import accuracy_table, latency_table
from searchspace import build_space, parse_architecture
from searchspace.description import describe

WIDTHS = (80, 100, 140)
SMALL = LatencyTable(
    Grid(("1", "2"), (("k3e3", "k5e6se"), ("k3e3", "skip")), ((0.1, 0.25), (0.05, 0.0123)), 0.5),
    conditions=Conditions("test-board", "onnxruntime", "fp32", 1, 1),
    space=SpaceKey("small", "0" * 16, 64, 10),
    created="2025-11-20",
    statistic="q10",
    certificate=Certificate(1.2, 2.5, 14.0, 0.98, 0.4, 0.99, ()),
)
ACCURACY = AccuracyTable.from_top1(
    Grid(("1", "2"), (("k3e3", "k5e6se"), ("k3e3", "skip")), ((70.0, 72.5), (71.0, 71.0)))
)


def text(renderable: RenderableType, width: int = 100) -> str:
    """A report as plain text, without what stands behind the lines."""
    console = Console(file=StringIO(), width=width, highlight=False, color_system=None)
    console.print(renderable)
    assert isinstance(console.file, StringIO)
    return "\n".join(line.rstrip() for line in console.file.getvalue().splitlines()).strip("\n")


def golden(renderable: RenderableType, expected: str, width: int = 100) -> None:
    assert text(renderable, width) == dedent(expected).strip("\n")


@pytest.mark.parametrize("huge", [1e13, 1e16, 1e308])
def test_a_table_with_a_huge_value_is_still_shown(huge: float) -> None:
    for rows in (((1.0, huge), (2.0, 3.0)), ((0.1, 0.2), (huge, 0.3)), ((huge, huge), (huge, huge))):
        grid = Grid(("1", "2"), (("a", "b"),) * 2, rows, huge)
        for one in (LatencyTable(grid), AccuracyTable(grid)):
            shown = text(table_report(one, "t.json"))
            assert "e+" in shown or "inf" in shown
            assert not re.search("[0-9]{20}", shown)


def test_a_latency_table() -> None:
    golden(
        table_report(SMALL, "small.json"),
        """
        Latency in µs: test-board, onnxruntime fp32, 1 thread, batch 1
        space small, 64 px, made 2025-11-20, statistic: q10

        layer   k3e3 k5e6se   skip
        1      100.0  250.0
        2       50.0          12.3

        and a constant of 500.0 µs for stem and head
        networks take 0.6123 to 0.8000 ms by this table
        certificate: mean error 1.2 %, worst 2.5 % (noise floor 0.4 %), rank correlation 0.98 (noise allows
        0.99)
        """,
    )


def test_an_accuracy_table_marks_the_best_and_its_ties() -> None:
    golden(
        table_report(ACCURACY, "small.csv"),
        """
        Top-1 accuracy in percent: small.csv

        layer   k3e3 k5e6se   skip
        1     70.00  72.50*
        2     71.00*        71.00*

        * the best of its layer; in 1 layer several are equally good
        no certificate: nobody checked how well summed losses rank real networks
        """,
    )


def test_findings_come_worst_first() -> None:
    findings = (
        Finding("note", "certificate", "is absent."),
        Finding("error", "line 7", "layer '1' candidate 'a' stands here a second time, after line 3."),
    )
    golden(
        check_report([CheckedTable(Path("t.csv"), SMALL, findings)]),
        """
        t.csv (latency): 1 error, 0 warnings, 1 note

         error  line 7       layer '1' candidate 'a' stands here a second time, after line 3.
         note   certificate  is absent.
        """,
    )
    assert (
        text(check_report([CheckedTable(Path("t.csv"), SMALL, ())]))
        == "t.csv (latency): nothing to complain about"
    )
    many = tuple(Finding("error", f"line {n}", "wrong") for n in range(100))
    assert text(check_report([CheckedTable(Path("t"), None, many)])).endswith(
        "and 40 more: --json names them all"
    )


def test_a_difference() -> None:
    grid = replace(SMALL.grid, values=((0.1, 0.2), (0.05, 0.0123)), fixed=0.6)
    other = replace(SMALL, grid=grid, conditions=Conditions("test-board", "openvino", "fp32", 1, 1))
    golden(
        diff_report(diff_tables(SMALL, other), "a.json", "b.json"),
        """
        Change of latency in %, from a.json to b.json

         what differs  before       after
         ───────────────────────────────────
         backend       onnxruntime  openvino

        layer   k3e3 k5e6se   skip
        1         0    -20*
        2         0             0

        mean change -5.0 %, mean size 5.0 %; 1 of 4 cells moved by more than noise (3 % or more, marked *)
        the constant went from 0.5000 to 0.6000 ms

        Largest moves

         layers  candidate  before ms  after ms   change
         ───────────────────────────────────────────────
         1       k5e6se        0.2500    0.2000  -20.0 %
        """,
    )
    same = text(diff_report(diff_tables(SMALL, SMALL), "a.json", "a.json"))
    assert same.endswith("made under the same conditions\nno cell differs")


def front(*points: tuple[float, float]) -> Front:
    cost, loss = np.array(points, dtype=np.float64).T
    return Front(cost, loss, np.zeros((len(points), 1), dtype=np.intp))


FRONTS = [
    NamedFront("onnxruntime", front((2, 3), (4, 1), (8, 0))),
    NamedFront("openvino", front((1, 3), (2, 1), (4, 0))),
]


def test_fronts_side_by_side() -> None:
    shown = text(comparison_report(compare_fronts(FRONTS, rows=4), FRONTS))
    tables, _, plot = shown.partition("loss pp\n")
    expected = """
        Least loss within a budget, in percentage points (predicted ms)

         budget ms  A onnxruntime   B openvino    wins by
         ────────────────────────────────────────────────
                 1              -  3.00 (1.00)      alone
                 2    3.00 (2.00)  1.00 (2.00)    2.00 pp
                 4    1.00 (4.00)  0.00 (4.00)    1.00 pp
                 8    0.00 (8.00)  0.00 (4.00)  50 % time


         the whole fronts                    A onnxruntime  B openvino
         ─────────────────────────────────────────────────────────────
         hypervolume, share of the box              38.1 %      76.2 %
         time at equal loss, to the fastest          2.00x       1.00x
         beaten by onnxruntime                                     0 %
         beaten by openvino                          100 %
        """
    assert tables.strip("\n") == dedent(expected).strip("\n")
    rows = plot.splitlines()
    assert rows[0] == "  3.00 │" + 13 * "B" + 25 * "A"
    assert rows[9].strip(" │A") == 25 * "B"
    assert shown.endswith("openvino wins at every budget: at equal loss 2.00 times as fast as onnxruntime.")


def test_one_front() -> None:
    shown = text(front_report(FRONTS[0], budgets=3), 60)
    assert shown.startswith("onnxruntime: 3 networks on the exact front\n")
    assert "\n         4     1.00         4.000\n" in shown
    assert shown.endswith("8 ms")


def test_given_networks() -> None:
    def costs(params: int, macs: int) -> tuple[tuple[str, float], ...]:
        return ("params", params), ("macs", macs)

    networks = [
        NetworkPrediction("PONAS-A", ("a",), (1.5, 2.25), 0.5, costs(5_104_022, 328_907_360)),
        NetworkPrediction("mine", ("b",), (1.25, 3.0), 0.25, costs(4_000_000, 200_000_000)),
    ]
    golden(
        compare_report(networks, ("onnxruntime", "openvino")),
        """
        Predicted, not measured

         network  parameters     MACs  onnxruntime ms  openvino ms  loss pp
         ──────────────────────────────────────────────────────────────────
         PONAS-A       5.1 M  328.9 M           1.500        2.250     0.50
         mine          4.0 M  200.0 M           1.250        3.000     0.25
        """,
    )
    bare = [NetworkPrediction("x", ("a",), (1.5,), None)]
    assert "loss" not in text(compare_report(bare, ("t",)))


def test_an_architecture() -> None:
    shown = text(describe_report(describe(parse_architecture("PONAS-A", build_space("ponas")))))
    lines = shown.splitlines()
    assert lines[0] == "ponas, 224 px, 1000 classes"
    assert lines[4] == " stem    3x224x224                  2       1,824   20,873,216        6.3 %"
    assert " total                                  5,104,022  328,907,360      328.9 M" in lines


def whole_reports() -> Sequence[tuple[str, RenderableType]]:
    table, accuracy = latency_table(), accuracy_table()
    other = latency_table("openvino", 0.7)
    return [
        ("latency", table_report(table, "t")),
        ("accuracy", table_report(accuracy, "t")),
        ("diff", diff_report(diff_tables(table, other), "a", "b")),
        ("describe", describe_report(describe(parse_architecture("PONAS-C", build_space("ponas"))))),
        ("fronts", comparison_report(compare_fronts(FRONTS), FRONTS)),
        ("front", front_report(FRONTS[0])),
    ]


@pytest.mark.parametrize("width", WIDTHS)
def test_every_report_fits_the_terminal(width: int) -> None:
    for name, report in whole_reports():
        longest = max(map(len, text(report, width).splitlines()))
        assert longest <= width, name


def test_all_228_cells_are_shown_at_any_width() -> None:
    for width in (40, 80, 100):
        shown = text(table_report(latency_table(), "t"), width)
        rows = [line.split() for line in shown.splitlines() if re.fullmatch(r"[0-9]+( +[0-9.]+)+", line)]
        assert sum(len(row) - 1 for row in rows) == 228


def test_a_value_that_could_not_be_read_is_a_question_mark() -> None:
    grid = replace(SMALL.grid, values=((0.1, float("nan")), (0.05, 0.0123)))
    assert " ?" in text(table_report(replace(SMALL, grid=grid), "t"))


def test_cheap_is_green_and_dear_is_red_with_black_letters() -> None:
    console = Console(file=StringIO(), width=100, color_system="truecolor", force_terminal=True)
    console.print(table_report(SMALL, "t"))
    assert isinstance(console.file, StringIO)
    shown = console.file.getvalue()
    assert "\x1b[30;48;2;127;191;123m" in shown
    assert "\x1b[30;48;2;249;142;99m" in shown


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0.0, "0"), (0.0123456, "0.01235"), (12.345, "12.35"), (1234.5, "1234"), (9.9999, "10.00")],
)
def test_digits(value: float, shown: str) -> None:
    assert digits(value) == shown


def test_counted() -> None:
    assert (counted(1, "cell"), counted(1200, "cell")) == ("1 cell", "1,200 cells")


def test_a_difference_of_the_constant_alone_is_said() -> None:
    grid = Grid(("1", "2"), (("a",), ("a",)), ((1.0,), (1.0,)), 0.4)
    before, after = LatencyTable(grid), LatencyTable(replace(grid, fixed=5.0))
    said = text(diff_report(diff_tables(before, after), "a.csv", "b.csv"))
    assert "the constant went from 0.4000 to 5.000" in said
    assert "the constant" not in text(diff_report(diff_tables(before, before), "a.csv", "a.csv"))


@pytest.mark.parametrize("width", [30, 50, 80])
def test_an_architecture_is_folded_between_its_labels(width: int) -> None:
    labels = ["k7e6se", "k3e3", "skip", "k5e6se:int8"] * 5
    rows = table("")
    rows.add_column("")
    rows.add_column("")
    rows.add_row("architecture", AtCommas(",".join(labels)))
    lines = [line.replace("architecture", "").strip() for line in text(rows, width).splitlines()]
    assert [one for line in lines for one in line.split(",") if one.strip("─")] == labels
    assert all(line.endswith(",") for line in [line for line in lines if "k" in line][:-1])
