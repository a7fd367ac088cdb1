"""What layers lose in INT8, on a trained network and real images: evaluated again, a layer by itself."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

from ponas_deploy.backends import RunSettings, Session, get_backend
from ponas_deploy.backends.onnx_calibration import Calibration, value_ranges
from ponas_deploy.backends.onnx_prepared import PREPARED_FOR, with_metadata
from ponas_deploy.backends.onnx_quantised import to_integers, values_to_quantise
from ponas_deploy.engines import int8_losses
from ponas_deploy.engines.accuracy import Accuracy, measure
from ponas_deploy.engines.int8_losses import Int8Losses, MixedNetwork, measure_int8_losses
from ponas_deploy.engines.task import Validation, WeightsSource, random_source
from ponas_deploy.errors import PonasError
from ponas_deploy.files.weights import read_weights
from ponas_deploy.tables.accuracy import AccuracyTable
from ponas_deploy.tables.grid import Grid, SpaceKey
from searchspace.mixed import is_int8, mixed, plain_label

pytest.importorskip("torch", reason="the images are those of the extra 'train'")
pytest.importorskip("sklearn", reason="digits")

from trained_digits import (
    ARCHITECTURE,
    WEIGHTS,
    Array,
    held_out,
    scale_images,
    top1_pct,
    trained_model,
)

SPACE = ARCHITECTURE.space


def scales() -> Array:
    """Images of a fifth of the contrast: larger values saturate, and INT8 loses what can be seen."""
    return 0.2 * scale_images()


def batches(size: int) -> Iterator[tuple[Array, Array]]:
    images, labels = held_out()
    for start in range(0, len(labels), size):
        yield images[start : start + size], labels[start : start + size]


def evaluated(session: Session, batch: int) -> Accuracy:
    return measure(session, batches(batch), batch)


def source() -> WeightsSource:
    tensors = read_weights(WEIGHTS).tensors
    return WeightsSource(
        "digits_network.safetensors",
        lambda architecture: tensors,
        images=scales,
        network=ARCHITECTURE.text,
        validation=Validation(lambda architecture: tensors, evaluated, "359 images of digits"),
    )


def base() -> AccuracyTable:
    rows = ([0.5 * at for at in range(len(layer.labels))] for layer in SPACE.layers)
    return AccuracyTable(Grid.over(SPACE, rows), space=SpaceKey.of(SPACE))


@pytest.fixture(scope="module")
def found() -> Int8Losses:
    return measure_int8_losses(SPACE, source(), base(), get_backend("onnxruntime"), networks=6)


def quantised_pct(*layers: str) -> float:
    """Top-1 with these layers in INT8, all images at once, without what is tested."""
    backend, model = get_backend("onnxruntime"), trained_model()
    form = backend._scales.form  # type: ignore[attr-defined]
    names = values_to_quantise("", model, form, layers)
    ranges = value_ranges("", model, Calibration(scales()), names)
    ready = with_metadata(to_integers("", model, ranges, form, layers), PREPARED_FOR, "int8")
    with backend.load(ready, RunSettings("int8", 1)) as session:
        return top1_pct(session.run(held_out()[0]))


def test_a_layer_loses_what_the_network_with_it_alone_in_int8_loses(found: Int8Losses) -> None:
    with get_backend("onnxruntime").load(trained_model(), RunSettings()) as session:
        full_pct = top1_pct(session.run(held_out()[0]))
    assert found.full_pct == pytest.approx(full_pct)
    assert full_pct > 90
    expected = [full_pct - quantised_pct(f"layers.{layer.name}") for layer in SPACE.layers]
    assert [lost for (lost,) in found.measured_pp] == pytest.approx(expected)
    assert any(expected), "or nothing is compared"


def test_the_table_has_it_on_top_of_the_losses_of_blocks_and_nothing_below_them(found: Int8Losses) -> None:
    space = mixed(SPACE)
    assert found.table.space == SpaceKey.of(space)
    losses = dict(zip(base().loss.layers, base().loss.values, strict=True))
    for layer, row, (lost,) in zip(space.layers, found.table.loss.values, found.measured_pp, strict=True):
        of_block = dict(zip(SPACE.labels[0], losses[layer.name], strict=True))
        for label, value in zip(layer.labels, row, strict=True):
            on_top = found.factor * max(lost, 0.0) if is_int8(label) else 0.0
            assert value == pytest.approx(of_block[plain_label(label)] + on_top)


def test_random_precisions_of_the_network_certify_the_sums(found: Int8Losses) -> None:
    assert len({one.choices for one in found.networks}) == 6
    one = max(found.networks, key=lambda one: sum(map(is_int8, one.choices)))
    layers = [f"layers.{at}" for at, label in enumerate(one.choices, start=1) if is_int8(label)]
    assert one.mixed_pct == pytest.approx(quantised_pct(*layers))
    assert one.full_pct == pytest.approx(found.full_pct)
    lost = [found.factor * max(pp, 0.0) for (pp,) in found.measured_pp]
    predicted = sum(pp for pp, label in zip(lost, one.choices, strict=True) if is_int8(label))
    assert one.predicted_pp == pytest.approx(predicted)
    errors = [abs(one.predicted_pp - (one.full_pct - one.mixed_pct)) for one in found.networks]
    assert found.mean_error_pp == pytest.approx(np.mean(errors))
    details = dict(found.table.origin.details if found.table.origin else ())
    assert details["int8_mean_error_pp"] == f"{found.mean_error_pp:.3f}"
    assert details["int8_in"] == ARCHITECTURE.text
    assert details["int8_factor"] == f"{found.factor:.3f}"
    certificate = found.table.certificate
    assert (certificate is None) == (len({one.mixed_pct for one in found.networks}) == 1)
    if certificate:
        assert certificate.networks == 6


def test_each_candidate_has_a_loss_of_its_own_where_that_is_asked_for() -> None:
    """Of a supernet with random weights, which images are real enough for."""
    validation = Validation(random_source().tensors, evaluated, "digits")
    anything = replace(source(), network=None, validation=validation)
    counts = list[tuple[int, int]]()
    found = measure_int8_losses(
        SPACE,
        anything,
        base(),
        get_backend("openvino"),
        networks=5,
        each_candidate=True,
        on_evaluated=lambda done, wanted: counts.append((done, wanted)),
    )
    assert [len(lost) for lost in found.measured_pp] == [4, 4, 4]
    for labels, lost, row in zip(
        mixed(SPACE).labels, found.measured_pp, found.table.loss.values, strict=True
    ):
        by_label = dict(zip(labels, row, strict=True))
        for label, pp in zip(filter(is_int8, labels), lost, strict=True):
            assert by_label[label] - by_label[plain_label(label)] == pytest.approx(
                found.factor * max(pp, 0.0)
            )
    assert found.reference.choices == tuple(layer.labels[0] for layer in SPACE.layers), "of least loss"
    assert counts[-1] == (counts[-1][1],) * 2 == (2 * 12 + 2 * (5 + 2) + 1,) * 2


def test_what_cannot_be_measured_is_refused_first() -> None:
    for changes, more, message in (
        ({"validation": None}, {}, "measured on validation images, and there are none: name the data set"),
        ({"images": None}, {}, "int8 scales of trained weights come from images"),
        ({}, {"networks": 4}, "4 networks certify no table: ask for 5 or more"),
        ({}, {"each_candidate": True}, "leave --each-candidate out"),
    ):
        with pytest.raises(PonasError, match=message):
            measure_int8_losses(
                SPACE, replace(source(), **changes), base(), get_backend("onnxruntime"), **more
            )


@pytest.mark.parametrize(
    ("summed", "lost", "expected"),
    [
        ((1.0, 2.0), (0.5, 1.0), 0.5),
        ((1.0, 3.0), (1.0, 0.0), 0.1),
        ((1.0, 2.0), (-0.5, -1.0), 0.0),
        ((0.2, 0.0), (1.0, 1.0), 2.0),
        ((0.0, 0.0), (1.0, 1.0), 1.0),
        ((), (), 1.0),
    ],
)
def test_the_factor_brings_sums_nearest_to_what_networks_lost(
    summed: tuple[float, ...], lost: tuple[float, ...], expected: float
) -> None:
    networks = [MixedNetwork((), 90.0, 90.0 - b, a) for a, b in zip(summed, lost, strict=True)]
    assert int8_losses._factor(networks) == pytest.approx(expected)
