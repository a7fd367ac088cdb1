"""What a report holds: charts with the numbers of their tables, and sentences for what is left out."""

from __future__ import annotations

from dataclasses import replace

import pytest
from sample_reports import TIMED, WHEN, compared, engine, shipped_report, small

from ponas_deploy.charts.chart import Axis, Chart, number
from ponas_deploy.charts.fronts import MOST_POINTS
from ponas_deploy.charts.layers import MOST_BARS, timed_layers
from ponas_deploy.charts.report import Asked, Report, report_of
from ponas_deploy.charts.stock import MeasuredPoint
from ponas_deploy.engines.to_compare import IMAGES
from ponas_deploy.errors import PonasError, TableMismatchError
from ponas_deploy.search.pareto import pareto_front
from ponas_deploy.tables import store
from ponas_deploy.tables.accuracy import AccuracyOrigin
from ponas_deploy.tables.latency import Conditions
from ponas_deploy.tables.top1 import Top1Scale
from sample_tables import accuracy_table, latency_table


@pytest.fixture(scope="module")
def shipped() -> Report:
    return shipped_report()


def chart(report: Report, key: str) -> Chart:
    return next(one for one in report.charts if one.key == key)


def test_there_is_a_chart_of_everything(shipped: Report) -> None:
    maps = [f"{kind}-{place}" for kind in ("latency", "predictions") for place in (1, 2, 3)]
    keys = [one.key for one in shipped.charts]
    assert keys == ["front-1", "loss-1", *maps, "layers-engine", "layers-stock"]
    assert all(len(row) == len(one.columns) for one in shipped.charts for row in one.rows)


def test_the_front_is_the_exact_one_thinned_with_both_ends(shipped: Report) -> None:
    rows = [row for row in chart(shipped, "front-1").rows if row[0] == "onnxruntime fp32"]
    stored = store.latency_table("amd-epyc-2c/onnxruntime-fp32-t1-b1-ponas-224px-1000c").table
    exact = pareto_front(stored, store.accuracy_table("accuracy/ponas").table).points
    assert len(rows) == MOST_POINTS < len(exact)
    assert (rows[0][2], rows[-1][2]) == (exact[0].latency_ms, exact[-1].latency_ms)
    known = {point.latency_ms: point for point in exact}
    for row in rows:
        assert isinstance(row[2], float)
        assert (row[4], row[7]) == (known[row[2]].loss_pp, ",".join(known[row[2]].choices))


def test_the_maps_hold_the_cells_of_the_tables(shipped: Report) -> None:
    grid = store.latency_table("amd-epyc-2c/openvino-bf16-t1-b1-ponas-224px-1000c").table.grid
    rows = chart(shipped, "latency-2").rows
    assert chart(shipped, "latency-2").columns[2] == "latency (µs)"
    assert [row[2] for row in rows] == [pytest.approx(1e3 * value) for row in grid.values for value in row]
    lost = store.accuracy_table("accuracy/ponas").table
    found = [row[2] for row in chart(shipped, "loss-1").rows]
    assert found == [value for row in lost.loss.values for value in row]


def test_the_checks_are_those_of_the_certificate(shipped: Report) -> None:
    table = store.latency_table("amd-epyc-2c/openvino-fp32-t1-b1-ponas-224px-1000c").table
    assert table.certificate
    rows = chart(shipped, "predictions-3").rows
    assert [row[1:] for row in rows] == [
        (one.measured_ms, one.predicted_ms, pytest.approx(one.error_pct))
        for one in table.certificate.networks
    ]
    assert f"{table.certificate.noise_floor_pct:.1f} %: the band" in chart(shipped, "predictions-3").summary


def test_the_layers_of_the_engine_add_up_to_its_prediction(shipped: Report) -> None:
    table = store.latency_table("amd-epyc-2c/onnxruntime-fp32-t1-b1-ponas-224px-1000c").table
    rows = chart(shipped, "layers-engine").rows
    total = sum(float(row[1]) for row in rows if isinstance(row[1], float))
    assert total == pytest.approx(table.predict_ms(engine(table.conditions or NOWHERE).manifest.choices))
    assert rows[-1][3] == pytest.approx(100)


NOWHERE = Conditions("elsewhere", "openvino", "fp32", 1, 1)


def test_random_weights_are_marked_and_trained_ones_are_not(shipped: Report) -> None:
    (found,) = (one for one in shipped.sources if one.kind == "engine")
    assert "random weights" in found.marks[0]
    table = store.latency_table("amd-epyc-2c/onnxruntime-fp32-t1-b1-ponas-224px-1000c")
    report = report_of(Asked([table], engine=engine(table.conditions, trained=True)), WHEN)
    assert all(not one.marks for one in report.sources)


def test_an_engine_of_other_conditions_is_said_to_be_one() -> None:
    table = store.latency_table("amd-epyc-2c/onnxruntime-fp32-t1-b1-ponas-224px-1000c")
    report = report_of(Asked([table], engine=engine(NOWHERE)), WHEN)
    assert any("elsewhere" in note for note in chart(report, "layers-engine").notes)
    assert any("--stock-layers" in text for text in report.left_out)


def test_tables_of_anybody_do_without_conditions_and_certificate() -> None:
    report = report_of(small([[1.0, 2.0], [3.0, 5.0]], [[2.0, 0.0], [1.0, 0.0]]), WHEN)
    assert [one.key for one in report.charts] == ["front-1", "loss-1", "latency-1"]
    assert [row[2] for row in chart(report, "front-1").rows] == [4.0, 5.0, 7.0]
    assert dict(report.sources[0].facts)["device"] == "not said by the file"
    assert any("no network was checked" in text for text in report.left_out)


def test_an_accuracy_table_that_does_not_fit_is_an_error() -> None:
    asked = small([[1.0, 2.0]], [[2.0, 0.0]], ("a",))
    other = small([[1.0, 2.0]], [[2.0, 0.0]], ("b",))
    with pytest.raises(TableMismatchError):
        report_of(replace(asked, accuracies=other.accuracies), WHEN)


def test_resolutions_that_no_accuracy_table_compares_have_charts_of_their_own() -> None:
    stored = store.latency_table("amd-epyc-2c/onnxruntime-fp32-t1-b1-ponas-224px-1000c")
    key = stored.table.space
    assert key is not None
    small_one = replace(stored, table=replace(stored.table, space=replace(key, resolution=32)))
    titles = [one.title for one in report_of(Asked([stored, small_one]), WHEN).charts if "front" in one.key]
    assert len(titles) == 2
    assert ["at 32 px" in titles[0], "at 224 px" in titles[1]] == [True, True], titles


def test_a_table_without_losses_has_its_map_all_the_same() -> None:
    asked = replace(small([[1.0, 2.0]], [[2.0, 0.0]], ("a",)), accuracies=[])
    report = report_of(asked, WHEN)
    assert [one.key for one in report.charts] == ["latency-1"]
    assert any("--accuracy-table" in text for text in report.left_out)


def test_an_engine_alone_is_shown_where_a_stock_network_was_timed() -> None:
    report = report_of(Asked(engine=engine(NOWHERE), timed=TIMED), WHEN)
    assert [one.key for one in report.charts] == ["layers-stock"]
    assert [one.kind for one in report.sources] == ["engine"]
    assert any("no latency table here is of ponas" in text for text in report.left_out)


def test_of_nothing_there_is_no_report() -> None:
    with pytest.raises(PonasError, match="nothing to draw"):
        report_of(Asked(), WHEN)


def predicting() -> Asked:
    """The tables of tests, with losses that predict the top-1 of ImageNet."""
    lost = accuracy_table()
    origin = AccuracyOrigin(IMAGES, "fit", 224, 1000, 50000, (), 0)
    table = replace(lost, origin=origin, space=latency_table().space, top1_scale=Top1Scale("points", 78.0))
    own = small([[1.0]], [[0.0]], ("a",), ("x",))
    latency = replace(own.latencies[0], table=latency_table())
    return Asked([latency], [replace(own.accuracies[0], table=table)])


STOCK = MeasuredPoint("Net <b>", "stock network", 2.5, 75.0, "published", 0.5, 224, (), "on")


def test_measured_networks_stand_beside_a_front_of_top1() -> None:
    asked = predicting()
    conditions = asked.latencies[0].conditions
    report = report_of(replace(asked, compared=[compared(STOCK, conditions=conditions)]), WHEN)
    front = chart(report, "front-1")
    assert front.columns[4] == "top-1 (%)"
    assert front.rows[-1][:5] == (
        conditions.text,
        "Net <b>",
        2.5,
        "measured, its processes 0.5 % apart",
        75.0,
    )
    assert not any("cannot be compared" in note for note in front.notes)


def test_networks_of_other_conditions_are_said_to_be_of_others() -> None:
    asked = predicting()
    fitting = asked.latencies[0].conditions
    others = [compared(STOCK, conditions=NOWHERE)]
    assert any(
        "elsewhere" in note
        for note in chart(report_of(replace(asked, compared=others), WHEN), "front-1").notes
    )
    both = [*others, compared(replace(STOCK, name="here"), conditions=fitting)]
    found = chart(report_of(replace(asked, compared=both), WHEN), "front-1")
    assert [row[1] for row in found.rows if row[3] != "predicted"] == ["here"]
    assert any("not drawn: elsewhere" in note for note in found.notes)


def test_measured_networks_do_not_stand_beside_losses(shipped: Report) -> None:
    asked = small([[1.0, 2.0]], [[2.0, 0.0]], ("a",))
    report = report_of(replace(asked, compared=[compared(STOCK)]), WHEN)
    assert any("predicts no top-1" in text for text in report.left_out)
    assert all(row[1] != "Net <b>" for row in chart(report, "front-1").rows)


def test_networks_of_other_images_do_not_stand_beside() -> None:
    asked = predicting()
    lost = asked.accuracies[0].table
    assert lost.origin
    other = replace(lost, origin=replace(lost.origin, data="digits"))
    asked = replace(asked, accuracies=[replace(asked.accuracies[0], table=other)], compared=[compared(STOCK)])
    assert any("of digits" in text for text in report_of(asked, WHEN).left_out)


def test_the_longest_layers_have_a_bar_and_the_rest_one_together() -> None:
    timed = [(f"n{index}", 1.0 + index) for index in range(MOST_BARS + 5)]
    found = timed_layers("k", "net", timed).rows
    assert [row[0] for row in found] == [
        *(f"n{index}" for index in range(5, MOST_BARS + 5)),
        "5 shorter ones",
    ]
    assert found[-1][1] == pytest.approx(15.0)


@pytest.mark.parametrize(
    ("values", "log"), [([1.0, 2.0], False), ([1.0, 4.0], True), ([0.0, 9.0], False), ([3.0], False)]
)
def test_an_axis_is_logarithmic_as_suits_and_holds_its_values(values: list[float], log: bool) -> None:
    axis = Axis.over(values)
    assert axis.log == log
    assert axis.low < min(values) <= max(values) < axis.high


def test_ticks_are_round_and_few() -> None:
    assert Axis(1.6, 23.0, True).ticks(8) == [2, 3, 5, 7, 10, 20]
    assert Axis(0.0009, 1200.0, True).ticks(8) == [0.001, 0.01, 0.1, 1, 10, 100, 1000]


@pytest.mark.parametrize(
    ("value", "text"), [(None, "–"), (1500, "1,500"), (0.123456, "0.1235"), (12345.6, "12,346"), ("a", "a")]
)
def test_numbers_for_people(value: float | str | None, text: str) -> None:
    assert number(value) == text
