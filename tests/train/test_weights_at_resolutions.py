"""A supernet's weights in a search over resolutions: images, statistics, preprocessing of the chosen one."""
# ruff: noqa: E402

from __future__ import annotations

from collections.abc import Iterator
from math import ceil
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="needs the train extra (torch)")
from tiny_training import one_thread

from ofa_layout import supernet
from photos import picture
from ponas_deploy.engines.deployment import deploy
from ponas_deploy.engines.engine import Engine
from ponas_deploy.errors import PonasError
from ponas_deploy.profiling.target import Target
from ponas_deploy.tables import store
from ponas_deploy.tables.accuracy import AccuracyTable
from ponas_deploy.tables.grid import Grid, SpaceKey
from ponas_deploy.tables.latency import Conditions, LatencyTable
from ponas_deploy.tables.latency_file import write_latency_table
from ponas_deploy.tables.resolution_terms import ResolutionTerm, ResolutionTerms
from searchspace import build_space
from searchspace.cost import cost_table, count_macs
from searchspace.spaces import ELASTIC_PX

CLASSES, SIDES = 10, (32, 36)
TERMS = ResolutionTerms((ResolutionTerm(32, 500.0), ResolutionTerm(36, 0.0)), 0.2, "a plan")


@pytest.fixture(autouse=True)
def _small_sides(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delitem(ELASTIC_PX, "ofa-mbv3")
    with one_thread():
        yield


def losses() -> AccuracyTable:
    """Fewer MACs, more points lost."""
    space = build_space("ofa-mbv3", SIDES[-1], CLASSES)
    _, macs = cost_table(count_macs, space)
    grid = Grid.over(space, ([(max(row) - count) / 1e5 for count in row] for row in macs))
    return AccuracyTable(grid, space=SpaceKey.of(space), resolution_terms=TERMS)


def times(resolution: int) -> float:
    """Stores a latency table; milliseconds of the fastest network."""
    space = build_space("ofa-mbv3", resolution, CLASSES)
    fixed, macs = cost_table(count_macs, space)
    grid = Grid.over(space, ([count / 1e6 for count in row] for row in macs), fixed / 1e6)
    table = LatencyTable(grid, SpaceKey.of(space), Conditions("board", "onnxruntime", "fp32", 1, 1))
    assert table.conditions is not None
    write_latency_table(table, store.latency_path(table.conditions, SpaceKey.of(space)))
    return fixed / 1e6 + sum(map(min, grid.values))


def test_the_chosen_network_is_recalibrated_and_fed_at_its_resolution(tmp_path: Path) -> None:
    weights, folder = tmp_path / "supernet", tmp_path / "photos"
    torch.save({"state_dict": supernet(CLASSES)}, weights)
    for place in range(6 * CLASSES):
        picture(folder / f"c{place % CLASSES}" / f"{place}.jpg", (place, 4 * place, 90), place)
    least = [times(side) for side in SIDES]

    def found(latency_ms: float, data: Path | None) -> Engine:
        return deploy(
            build_space("ofa-mbv3", SIDES[-1], CLASSES),
            Target("board"),
            losses(),
            out=tmp_path / f"{latency_ms}",
            resolutions=SIDES,
            weights=weights,
            data=str(data) if data else None,
            latency_ms=latency_ms,
        )

    small, large = found(1.2 * least[0], folder), found(1.6 * least[1], None)
    for engine, side in ((small, 32), (large, 36)):
        assert engine.manifest.space.resolution == side
        assert engine.manifest.preprocessing is not None
        assert engine.manifest.preprocessing.resize_px == ceil(side / 0.875)
    assert small.manifest.batch_norm == f"recalibrated on training images of {folder}"
    assert large.manifest.batch_norm == "not recalibrated"


def test_a_shortlist_is_of_one_resolution(tmp_path: Path) -> None:
    with pytest.raises(PonasError, match="--shortlist evaluates networks at one resolution"):
        deploy(
            build_space("ofa-mbv3", 36, CLASSES),
            Target("board"),
            losses(),
            out=tmp_path / "engine",
            resolutions=SIDES,
            shortlist=3,
            latency_ms=1.0,
        )
