"""Estimates by published figures: what they are made of, how far they are off, and what scales them."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path

import pytest

from benchmarks.estimates import efficiencies, held_out, published
from ponas_deploy.errors import PonasError, TableMismatchError, UnknownNameError
from ponas_deploy.fitting.board_figures import Efficiencies, board_figures, find_figures
from ponas_deploy.fitting.estimate import (
    estimated_conditions,
    estimated_grid,
    estimated_table,
    scale_by_networks,
    scale_by_table,
)
from ponas_deploy.fitting.rooflines import KINDS, Work, estimate_ms, terms_ms, works_of
from ponas_deploy.tables.files import load_latency_table
from ponas_deploy.tables.latency_file import write_latency_table
from ponas_deploy.tables.networks_csv import Networks
from ponas_deploy.tables.quality import quality_findings
from sample_tables import SPACE, latency_table
from searchspace import build_space
from searchspace.cost import cost_table, count_macs
from searchspace.ops import Conv

NANO = find_figures("nano")


def off(found: Efficiencies) -> list[float]:
    """How many times the estimates of all published latencies of a family are off."""
    family = next(
        name for name, one in board_figures().families.items() if one.checked_on == found.checked_on
    )
    ratios = [
        estimate_ms(row.works, row.board, found, row.precision, row.threads) / row.measured_ms
        for row in published()
        if row.board.family == family
    ]
    return [max(ratio, 1 / ratio) for ratio in ratios]


@pytest.mark.parametrize("family", ["processor", "gpu"])
def test_the_shipped_efficiencies_and_their_error_are_those_of_the_fit(family: str) -> None:
    shipped, found = board_figures().families[family], efficiencies(family)
    for field in fields(Efficiencies):
        one, other = getattr(shipped, field.name), getattr(found, field.name)
        assert one == other if field.name == "checked_on" else one == pytest.approx(other, rel=0.02)


@pytest.mark.parametrize("family", ["processor", "gpu"])
def test_no_device_is_off_by_more_than_is_stated_when_it_has_no_part_in_the_fit(family: str) -> None:
    stated = board_figures().families[family]
    assert max(one.factor for one in held_out(family)) <= stated.worst_factor + 0.01
    assert max(off(stated)) <= stated.worst_factor


@pytest.mark.parametrize(
    "without",
    [
        pytest.param({"launch_kilocycles": 1e-9}, id="launch"),
        pytest.param(dict.fromkeys(KINDS, 1e9), id="FLOPs"),
        pytest.param({"bandwidth": 1e9}, id="bytes"),
        pytest.param({"depthwise": 1.0}, id="depthwise as dense"),
    ],
)
def test_without_a_term_published_latencies_are_missed_by_more(without: dict[str, float]) -> None:
    stated = board_figures().families["gpu"]
    assert max(off(replace(stated, **without))) > stated.worst_factor


def test_works_count_what_the_cost_counter_counts() -> None:
    """Two FLOPs a multiply-accumulate of `searchspace.cost`; pooling and scaling of gates come on top."""
    _, macs = cost_table(count_macs, SPACE)
    *shapes, _ = SPACE.layer_shapes()
    for layer, shape, row in zip(SPACE.layers, shapes, macs, strict=True):
        for candidate, count in zip(layer.candidates, row, strict=True):
            works = list(works_of(candidate.ops, shape))
            moved_by_gates = sum(w.activations for w in works if w.kind == "squeeze_excite")
            assert sum(work.flops for work in works) == 2 * count + 2 * moved_by_gates // 3


def test_terms_by_hand() -> None:
    (work,) = works_of((Conv("one", 4, 8),), (4, 10, 10))
    assert work == Work("pointwise", 1, 2 * 4 * 8 * 100, 4 * 100 + 8 * 100, 4 * 8 + 8)
    launch, dense, pointwise, depthwise, *_, moved = terms_ms((work,), NANO, "fp16", batch=2)
    assert launch == pytest.approx(1e3 / 0.9216e9 * 1e3)
    assert pointwise == pytest.approx(2 * 6400 / 0.4716e12 * 1e3)
    assert moved == pytest.approx(2 * (2 * 1200 + 40) / 25.6e9 * 1e3)
    assert dense == depthwise == 0


def test_threads_share_the_peak_of_a_processor_and_not_of_a_gpu() -> None:
    pi = find_figures("pi-5")
    peaks = [pi.peak_tflops("fp32", threads) for threads in (1, 4, 8)]
    assert peaks == pytest.approx([0.0384, 0.1536, 0.1536])
    assert NANO.peak_tflops("fp16", 1) == NANO.peak_tflops("fp16", 8)


def test_a_processor_is_given_by_its_figures() -> None:
    given, pi = find_figures("4x2.4x16@17.1"), find_figures("raspberry-pi-5")
    assert given.peak_tflops("fp32", 4) == pytest.approx(pi.peak_tflops("fp32", 4))
    assert (given.bandwidth_gbs, given.clock_ghz, given.cores) == (17.1, 2.4, 4)
    grids = [estimated_grid(SPACE, estimated_conditions("x", one, "fp32", 4), one) for one in (given, pi)]
    assert grids[0] == grids[1]
    assert "12.8 GB/s assumed" in find_figures("2 x 3GHz x 32").source
    with pytest.raises(PonasError, match="CORESxGHZxFLOPS"):
        find_figures("0x2.4x16")
    for slip in ("4x2400x16", "4x2.4x16@0.001", "4x2.4x16@17100"):
        with pytest.raises(PonasError, match="are not within"):
            find_figures(slip)


def test_an_unknown_board_lists_those_known_and_how_to_give_a_processor() -> None:
    with pytest.raises(
        UnknownNameError, match=r"unknown board 'jetson-orin-nono': known are .*orin-nano, .*4x2"
    ) as told:
        find_figures("jetson-orin-nono")
    assert {"nano", "pi-4", "thor", "h100"} < set(told.value.known)
    with pytest.raises(
        UnknownNameError, match="unknown precision in the figures of nano 'int8': known are fp16"
    ):
        NANO.peak_tflops("int8", 1)


def test_a_table_says_that_it_is_estimated_and_is_read_back_as_it_was(tmp_path: Path) -> None:
    made = estimated_table(SPACE, estimated_conditions("lab-nano", NANO), NANO)
    path = tmp_path / "table.json"
    write_latency_table(made, path)
    found = load_latency_table(path)
    assert found == made
    worst = board_figures().families["gpu"].worst_factor
    assert made.estimated.startswith(f"estimated, not measured: +-{worst:.3g} times")
    (finding,) = quality_findings(made)
    assert (finding.severity, finding.message) == ("warning", f"{made.estimated}.")
    assert replace(made, protocol=latency_table().protocol).estimated, "its conditions say it, too"
    assert not latency_table().estimated


def test_a_larger_image_and_a_faster_board_are_told() -> None:
    def slowest(board: str, resolution: int) -> float:
        figures, space = find_figures(board), build_space("ponas", resolution)
        return estimated_grid(space, estimated_conditions(board, figures), figures).extremes[1]

    assert slowest("nano", 160) < slowest("nano", 224)
    in_order = [slowest(board, 224) for board in ("h100", "agx-orin", "orin-nano-super", "orin-nano", "nano")]
    assert in_order == sorted(in_order)


def test_networks_that_were_measured_scale_it(tmp_path: Path) -> None:
    conditions = estimated_conditions("lab-nano", NANO)
    plain = estimated_table(SPACE, conditions, NANO)
    layers, choices = (
        plain.grid.layers,
        tuple(tuple(row[at] for row in plain.grid.candidates) for at in (0, 5, 9)),
    )
    values = tuple(1.5 * plain.predict_ms(one) for one in choices)
    networks = Networks(tmp_path / "some.csv", layers, choices, values, "latency", (2, 3, 4))
    scale = scale_by_networks(networks, SPACE, conditions, NANO)
    scaled = estimated_table(SPACE, conditions, NANO, scale)
    assert scale.factor == pytest.approx(1.5)
    assert scaled.predict_ms(choices[0]) == pytest.approx(values[0])
    assert "scaled by 1.5, from some.csv, 3 networks" in scaled.estimated
    with pytest.raises(TableMismatchError, match="holds no latencies"):
        scale_by_networks(replace(networks, kind="accuracy"), SPACE, conditions, NANO)


def test_a_measured_table_of_other_conditions_scales_it() -> None:
    """By what was estimated for its own conditions: fp32 here, fp16 asked for."""
    conditions = estimated_conditions("lab-nano", NANO)
    in_fp32 = replace(conditions, precision="fp32", backend="onnxruntime")
    measured = replace(latency_table(), conditions=in_fp32, correction=None, certificate=None)
    measured = replace(measured, grid=estimated_grid(SPACE, in_fp32, NANO).scaled(0.5))
    assert scale_by_table("theirs", measured, SPACE, conditions, NANO).factor == pytest.approx(0.5)
    estimated = estimated_table(SPACE, conditions, NANO)
    with pytest.raises(TableMismatchError, match="theirs is estimated itself"):
        scale_by_table("theirs", estimated, SPACE, conditions, NANO)
