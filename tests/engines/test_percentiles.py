"""Budgets on a percentile of single inferences, and what verification judges by."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from planted_clocks import (
    spread,
)
from planted_search import device_ms, middle_ms, task
from ponas_deploy.checks.engine import verify
from ponas_deploy.commands.reports.engine import deployment_report, verification_report
from ponas_deploy.engines.loop import engine_document, meet_budget
from ponas_deploy.engines.manifest import MANIFEST
from ponas_deploy.engines.manifest_file import read_manifest
from ponas_deploy.errors import FileFormatError
from ponas_deploy.files.documents import encoded
from rendered import shown
from searchspace.space import Space

pytestmark = pytest.mark.usefixtures("planted_clock")


def test_the_budget_is_on_the_percentile_that_was_asked_for(
    tiny: Space, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One inference in ten takes half as long again: only p99 minds."""
    monkeypatch.setattr("ponas_deploy.engines.search.time_engine", spread([1.0] * 9 + [1.5]))
    budget, found = 1.2 * middle_ms(tiny), {}
    for percentile in (50, 99):
        given = replace(task(tiny, tmp_path, budget), percentile=percentile)
        done = meet_budget(given, tmp_path / f"p{percentile}")
        assert done.chosen.timing is not None
        assert done.chosen.measured_ms == done.chosen.timing.percentile_ms(percentile) <= budget
        assert done.manifest == read_manifest(tmp_path / f"p{percentile}")
        assert done.manifest.percentile == percentile
        assert encoded(engine_document(done.manifest, tmp_path))["percentile"] == percentile
        found[percentile] = device_ms(tiny, done.manifest.choices)
    assert 1.3 * found[99] < found[50]
    assert "in 99 of 100 inferences" in shown(deployment_report(done))


def test_verify_judges_by_the_same_percentile(
    tiny: Space, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = replace(task(tiny, tmp_path, middle_ms(tiny)), percentile=95)
    meet_budget(given, tmp_path / "engine")
    assert verify(tmp_path / "engine").passed
    monkeypatch.setattr("ponas_deploy.checks.engine.time_engine", spread([1.0] * 9 + [2.0]))
    found = verify(tmp_path / "engine")
    assert (found.percentile, found.meets_budget) == (95, False)
    assert "p95 " in shown(verification_report(found))


def test_an_older_manifest_promises_the_median(tiny: Space, tmp_path: Path) -> None:
    meet_budget(task(tiny, tmp_path, 1e3), tmp_path / "engine")
    path = tmp_path / "engine" / MANIFEST
    document = json.loads(path.read_text())
    document["format"] = "ponas.engine/1"
    for key in ("percentile", "warnings"):
        del document[key]
    del document["measured"]["started_s"], document["measured"]["interference"]
    path.write_text(json.dumps(document))
    manifest = read_manifest(tmp_path / "engine")
    assert (manifest.percentile, manifest.warnings) == (50, ())
    assert manifest.measured is not None
    assert (manifest.measured.span_s, manifest.measured.interference) == (0, ())
    path.write_text(json.dumps({**document, "percentile": 51}))
    with pytest.raises(FileFormatError, match="percentile: is 51, expected one of 50, 90, 95, 99"):
        read_manifest(tmp_path / "engine")
    for wrong, message in (
        ({"rain": 1}, "rain: is nothing"),
        ({"others_pct": "many"}, "others_pct: is 'many'"),
    ):
        measured = {**document["measured"], "weather": [{"number": 0, **wrong}]}
        path.write_text(json.dumps({**document, "measured": measured}))
        with pytest.raises(FileFormatError, match=rf"interference\[0\]\.{message}"):
            read_manifest(tmp_path / "engine")
    document["measured"]["started_s"] = [1.0]
    path.write_text(json.dumps(document))
    with pytest.raises(FileFormatError, match=r"measured.started_s: holds 1 times of \d+ processes"):
        read_manifest(tmp_path / "engine")
