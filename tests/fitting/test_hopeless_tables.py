"""Tables with findings against them: measured with a warning, left out, refused for a promise."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from planted_clocks import (
    hopeless,
    with_certificate,
)
from planted_search import accuracy, middle_ms, tables, task
from ponas_deploy.commands.reports.engine import deployment_report
from ponas_deploy.engines.loop import Task, emit_portable, meet_budget
from ponas_deploy.engines.manifest_file import read_manifest
from ponas_deploy.engines.task import RANDOM_WEIGHTS
from ponas_deploy.errors import MeasurementError
from ponas_deploy.search.budget import Budget
from ponas_deploy.tables.latency import LatencyTable
from ponas_deploy.tables.margin import margin
from rendered import shown
from searchspace.space import Space

pytestmark = pytest.mark.usefixtures("planted_clock")


def test_a_hopeless_table_is_measured_with_a_warning_and_promises_nothing(
    tiny: Space, tmp_path: Path
) -> None:
    given, notes = task(tiny, tmp_path, 1e3, hopeless(tables(tiny, tmp_path))), list[str]()
    done = meet_budget(given, tmp_path / "engine", on_note=notes.append)
    warning, of_weights = done.manifest.warnings
    assert (warning, of_weights) == (notes[0], RANDOM_WEIGHTS)
    assert "rank correlation 0.20" in warning
    assert read_manifest(tmp_path / "engine").warnings == (warning, of_weights)
    assert "rank correlation 0.20" in shown(deployment_report(done))
    assert "0 pp (exact), by tables that are warned of above" in shown(deployment_report(done))
    with pytest.raises(MeasurementError, match="No engine is promised by such a table"):
        emit_portable(given, tmp_path / "other")


def test_a_warning_of_the_weights_alone_is_not_one_of_the_tables(tiny: Space, tmp_path: Path) -> None:
    given = task(tiny, tmp_path, 1e3, with_certificate(tables(tiny, tmp_path)))
    done = meet_budget(given, tmp_path / "engine")
    assert done.manifest.warnings == (RANDOM_WEIGHTS,)
    text = shown(deployment_report(done))
    assert "0 pp (exact)" in text
    assert "warned of above" not in text


def test_a_hopeless_table_is_left_out_beside_a_sound_one(tiny: Space, tmp_path: Path) -> None:
    """The hopeless one is of a faster precision, and would win."""
    sound = with_certificate(tables(tiny, tmp_path))
    fast = hopeless(tables(tiny, tmp_path, precision="bf16"))
    done = meet_budget(task(tiny, tmp_path, middle_ms(tiny), sound, fast), tmp_path / "engine")
    assert done.manifest.conditions.precision == "fp32"
    assert "It is left out." in done.manifest.warnings[0]


def test_a_table_without_a_certificate_is_said_so(tiny: Space, tmp_path: Path) -> None:
    done = meet_budget(task(tiny, tmp_path, 1e3), tmp_path / "engine")
    absent, margins, _ = done.manifest.warnings
    assert "certificate: is absent" in absent
    assert margins.endswith("no margin can be taken: chosen with the whole budget.")
    assert dict(done.manifest.predicted)["margin"] is None


def test_a_table_is_a_value(tiny: Space, tmp_path: Path) -> None:
    stored = with_certificate(tables(tiny, tmp_path))
    given = Task(
        (stored,), accuracy(tiny, tmp_path), Budget(latency_ms=1.0), tiny, task(tiny, tmp_path, 1.0).weights
    )
    assert given.trusting(promise=False) == replace(given, warnings=(RANDOM_WEIGHTS,))
    assert isinstance(stored.table, LatencyTable)
    assert np.isfinite(margin(stored.table).factor)  # type: ignore[union-attr]
