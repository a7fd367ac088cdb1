"""INT8 engines: accuracy beside that in full precision, random scales, and what the tables say."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from conftest import tiny_space
from ponas_deploy.backends import Session
from ponas_deploy.engines import loop
from ponas_deploy.engines.manifest_file import read_manifest
from ponas_deploy.engines.quantised import RANDOM_SCALES, gains_of
from ponas_deploy.engines.task import WeightsSource, random_source
from ponas_deploy.machines.machine import this_machine
from ponas_deploy.tables.grid import Grid, SpaceKey
from ponas_deploy.tables.latency import Conditions, LatencyTable
from ponas_deploy.tables.store import StoredTable
from searchspace import SPACES, Architecture, Space

IMAGES = np.random.default_rng(0).standard_normal((8, 3, 32, 32)).astype(np.float32)


def exported(source: WeightsSource, precision: str, folder: Path) -> None:
    architecture = Architecture.from_indices(tiny_space(), (3, 0, 1))
    conditions = Conditions(this_machine().name, "onnxruntime", precision, 1, 1)
    loop.build_and_measure(architecture, source, conditions, folder)


@pytest.fixture(autouse=True)
def _tiny_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SPACES, "tiny", tiny_space)


def test_an_int8_engine_has_its_top1_and_that_of_fp32_beside_it(tmp_path: Path) -> None:
    seen = list[str]()

    def top1(session: Session, batch: int) -> float:
        seen.append(session.settings().precision)
        return 90.0 + len(seen)

    source = replace(random_source(), top1_pct=top1, tested_on="here", images=lambda: IMAGES)
    exported(source, "int8", tmp_path / "int8")
    manifest = read_manifest(tmp_path / "int8")
    assert seen == ["int8", "fp32"]
    assert (manifest.top1_pct, manifest.top1_fp32_pct) == (91.0, 92.0)
    assert "8 images" in dict(manifest.environment)["int8_scales"]
    assert RANDOM_SCALES not in manifest.warnings


def test_random_scales_are_a_warning_of_the_engine(tmp_path: Path) -> None:
    exported(random_source(), "int8", tmp_path / "int8")
    manifest = read_manifest(tmp_path / "int8")
    assert RANDOM_SCALES in manifest.warnings
    assert "random" in dict(manifest.environment)["int8_scales"]
    assert manifest.top1_fp32_pct is None


def stored(space: Space, precision: str, ms: float) -> StoredTable:
    grid = Grid.over(space, ([ms] * len(layer.candidates) for layer in space.layers))
    conditions = Conditions("board", "openvino", precision, 1, 1)
    return StoredTable(Path(f"{precision}.json"), LatencyTable(grid, SpaceKey.of(space), conditions))


def test_where_int8_buys_nothing_the_tables_say_so() -> None:
    space = tiny_space()
    choices = Architecture.from_indices(space, (0, 0, 0)).choices
    tables = [stored(space, "fp32", 3.0), stored(space, "bf16", 1.0), stored(space, "int8", 2.0)]
    (gain,) = gains_of(tables, choices, 32)
    assert gain.text == (
        "by the tables of openvino the network takes 6 ms in int8 and 3 ms in bf16: int8 buys nothing here."
    )
    (gain,) = gains_of([tables[0], tables[2]], choices, 32)
    assert gain.text.endswith("6 ms in int8 and 9 ms in fp32.")
    assert gains_of(tables[:2], choices, 32) == gains_of(tables[2:], choices, 32) == ()
