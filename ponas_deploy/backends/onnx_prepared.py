"""A model as a runtime is given it: its types are the precision (`onnx_precision.py`, `onnx_quantised.py`).

Writing it in another precision takes the package onnx, and INT8 scales take ONNX Runtime; boards need have
neither. So the host of a board does that (`prepared_for_board`), and the model says of itself what it was
prepared for: the runtime there takes it as it stands.
"""

from __future__ import annotations

from ponas_deploy.backends.onnx_calibration import Calibration, largest_magnitudes, value_ranges
from ponas_deploy.backends.onnx_interface import read_interface, with_metadata
from ponas_deploy.backends.onnx_precision import (
    is_in_layer,
    read_model,
    to_fp16,
    to_int8,
    weighted_nodes,
)
from ponas_deploy.backends.onnx_quantised import IntegerForm, to_integers, values_to_quantise
from ponas_deploy.backends.protocol import INT8, MIXED, QUANTISED
from ponas_deploy.errors import BackendError
from searchspace.metadata import INT8_LAYERS

_FP16 = "fp16"
PREPARED_FOR = "ponas.prepared_for"
"""Under this name a model says for which precision it was prepared."""


def prepared(backend: str, model: bytes, precision: str, calibration: Calibration | None = None) -> bytes:
    """The model for a strongly typed runtime, INT8 scales by `calibration`; as it is where it was prepared.

    BackendError where it is no ONNX, was prepared for another precision, or cannot be written in this one.
    """
    if precision not in (_FP16, INT8) or _is_prepared(backend, model, precision):
        return model
    if precision == _FP16:
        return to_fp16(backend, model)
    largest = largest_magnitudes(backend, model, calibration or Calibration())
    return to_int8(backend, model, largest)


def quantised(
    backend: str, model: bytes, calibration: Calibration, form: IntegerForm, precision: str = INT8
) -> bytes:
    """The model in INT8 for a runtime on a CPU, which says so of itself; as it is where it was prepared.

    In mixed precision only those layers that it names. BackendError where it is no ONNX, was prepared for
    another precision, or names no layers for a mixed one.
    """
    if _is_prepared(backend, model, precision):
        return model
    layers = _named_layers(backend, model) if precision == MIXED else None
    ranges = value_ranges(backend, model, calibration, values_to_quantise(backend, model, form, layers))
    return with_metadata(to_integers(backend, model, ranges, form, layers), PREPARED_FOR, precision)


def _named_layers(backend: str, model: bytes) -> tuple[str, ...]:
    """The layers in INT8 by what a model says of itself, without those where nothing can be quantised.

    At a small resolution the last layers of a network see a single pixel, which stays in floats.
    """
    named = read_interface(backend, model).metadata.get(INT8_LAYERS)
    if named is None:
        raise BackendError(
            backend,
            "the model does not say which of its layers are in int8: mixed precision is for networks of this"
            " project's spaces; ask for int8 or fp32.",
        )
    can = [node.name for node in weighted_nodes(backend, read_model(backend, model))]
    return tuple(layer for layer in named.split() if any(is_in_layer(node, layer) for node in can))


def prepared_for_board(
    backend: str,
    model: bytes,
    precision: str,
    calibration: Calibration,
    form: IntegerForm | None = None,
) -> bytes:
    """The model for a runtime of a board, which says so of itself where it is another model now.

    `form` is that of the board's processor where the runtime runs on that, None for a strongly typed runtime.
    """
    if form is not None:
        return quantised(backend, model, calibration, form, precision) if precision in QUANTISED else model
    made = prepared(backend, model, precision, calibration)
    return model if made is model else with_metadata(made, PREPARED_FOR, precision)


def _is_prepared(backend: str, model: bytes, precision: str) -> bool:
    before = read_interface(backend, model).metadata.get(PREPARED_FOR, "")
    if before not in ("", precision):
        raise BackendError(backend, f"the model was prepared for {before}, and {precision} is asked for.")
    return before == precision
