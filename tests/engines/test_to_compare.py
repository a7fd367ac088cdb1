"""What is put beside stock networks: the top-1 of a space's networks, and what speaks against it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from ponas_deploy.engines.compared import Top1
from ponas_deploy.engines.losses import Losses
from ponas_deploy.engines.to_compare import Asked, each_resolution, given_models, warnings_of_spaces
from ponas_deploy.files.notes import no_note
from ponas_deploy.profiling.target import Target
from ponas_deploy.tables.accuracy import AccuracyOrigin, AccuracyTable
from ponas_deploy.tables.grid import Grid, SpaceKey
from ponas_deploy.tables.store import StoredAccuracy, accuracy_table
from ponas_deploy.tables.top1 import Top1Scale
from searchspace import UnknownNameError, build_space, parse_architecture
from searchspace.space import Space
from searchspace.zoo import published_networks


def asked(space: Space, losses: Losses | Sequence[Losses] | None, *resolutions: int) -> Asked:
    networks = {"first": tuple(row[0] for row in space.labels)}
    return Asked(space, (), {}, networks, 0, (), resolutions or None, losses, {})


def top1_pct(space: Space, losses: AccuracyTable) -> float | None:
    one = asked(space, StoredAccuracy(Path("t.json"), losses))
    each = each_resolution(one, Target("cpu"), no_note)
    (model,) = given_models(one, each, 1)
    return model.entry.top1.pct if model.entry.top1 else None


def test_a_predicted_top1_is_of_the_same_images_classes_and_pixels(tiny: Space) -> None:
    origin = AccuracyOrigin("ImageNet", "a test", tiny.resolution, tiny.classes, 100, (), 0)
    zeros = Grid.over(tiny, ([0.0] * len(row) for row in tiny.labels))
    scale = Top1Scale("points", 70.0)
    table = AccuracyTable(zeros, space=SpaceKey.of(tiny), origin=origin, top1_scale=scale)
    assert top1_pct(tiny, table) == 70.0
    assert top1_pct(tiny, replace(table, origin=replace(origin, data="ImageNet-100"))) is None
    assert top1_pct(tiny, replace(table, origin=replace(origin, classes=1000))) is None
    other = replace(table, space=replace(SpaceKey.of(tiny), resolution=64))
    assert top1_pct(tiny, other) is None


def test_each_resolution_may_have_an_accuracy_table_of_its_own(tiny: Space) -> None:
    tables = []
    for px, pct in ((32, 70.0), (64, 72.0)):
        origin = AccuracyOrigin("ImageNet", "a test", px, tiny.classes, 100, (), 0)
        zeros = Grid.over(tiny, ([0.0] * len(row) for row in tiny.labels))
        table = AccuracyTable(zeros, origin=origin, top1_scale=Top1Scale("points", pct))
        tables.append(StoredAccuracy(Path(f"{px}.json"), table))
    one = asked(tiny, tables, 32, 64)
    models = given_models(one, each_resolution(one, Target("cpu"), no_note), 1)
    found = [(model.entry.resolution_px, model.entry.top1) for model in models]
    assert [(px, top1 and top1.pct) for px, top1 in found] == [(32, 70.0), (64, 72.0)]


def test_what_speaks_against_predictions_is_said_without_any_budget() -> None:
    losses = accuracy_table("ofa-mbv3")
    one = asked(build_space("ofa-mbv3", 192), losses)
    (at,) = each_resolution(one, Target("cpu"), no_note)
    (warning,) = warnings_of_spaces([at])
    assert "it was measured at 224 px only" in warning
    known = losses.table.certificate
    assert known is not None
    assert known.rmse_pp is not None
    (model,) = given_models(one, [at], 1)
    assert model.entry.top1 is not None
    error_points = (known.rmse_pp**2 + 0.2**2) ** 0.5
    assert model.entry.top1.error_points == pytest.approx(error_points)


def test_networks_of_a_space_without_an_accuracy_table_are_compared_at_several_resolutions() -> None:
    space = build_space("ofa-mbv3-w1.2", 224)
    one = asked(space, None, 160, 192)
    each = each_resolution(one, Target("cpu"), no_note)
    found = [model.entry for model in given_models(one, each, 1)]
    assert [(entry.resolution_px, entry.top1) for entry in found] == [(160, None), (192, None)]
    assert warnings_of_spaces(each) == ()


@pytest.mark.parametrize(
    ("classes", "resolution", "pct"), [(1000, 224, 73.87), (1000, 192, None), (10, 224, None)]
)
def test_a_published_network_of_a_space_has_the_top1_of_its_source(
    classes: int, resolution: int, pct: float | None
) -> None:
    space = build_space("spos-shufflenet", resolution, classes)
    networks = {name: parse_architecture(name, space).choices for name in ("SPOS-MMRAZOR", "SPOS-PAPER")}
    own = {"mine": tuple(row[0] for row in space.labels)}
    one = replace(asked(space, None), networks={**networks, **own})
    tops = [model.entry.top1 for model in given_models(one, each_resolution(one, Target("cpu"), no_note), 1)]
    assert [top1 and top1.pct for top1 in tops] == [pct, pct and 73.6, None]
    assert {top1.known for top1 in tops if top1} == ({"published"} if pct else set())


def test_published_networks_of_any_family_are_compared_where_their_top1_is_of(tiny: Space) -> None:
    one = replace(asked(tiny, None), networks={}, published=("fbnet-a", "MobileNetV4-Conv-M", "FBNet-A"))
    found = [model.entry for model in given_models(one, (), 1)]
    assert [(entry.name, entry.kind, entry.resolution_px) for entry in found] == [
        ("FBNet-A", "stock", 224),
        ("MobileNetV4-Conv-M", "stock", 256),
    ]
    assert [entry.top1 for entry in found] == [
        Top1(row.top1_pct, "published", row.source)
        for row in (published_networks()[entry.name] for entry in found)
    ]
    with pytest.raises(UnknownNameError, match="unknown published network 'FBNet-D': known are FBNet-A"):
        replace(one, published=("FBNet-D",))
