"""A model as a strongly typed runtime is given it: its types are the precision (`onnx_precision.py`).

Writing it in another precision takes the package onnx, and INT8 scales take ONNX Runtime; boards need have
neither. So the host of a board does that (`prepared_for_board`), and the model says of itself what it was
prepared for: the runtime there takes it as it stands.
"""

from __future__ import annotations

from ponas_deploy.backends.onnx_calibration import Calibration, largest_magnitudes
from ponas_deploy.backends.onnx_interface import read_interface, with_metadata
from ponas_deploy.backends.onnx_precision import to_fp16, to_int8
from ponas_deploy.backends.protocol import INT8
from ponas_deploy.errors import BackendError

_FP16 = "fp16"
_MARK = "ponas.prepared_for"


def prepared(backend: str, model: bytes, precision: str, calibration: Calibration | None = None) -> bytes:
    """The model in a precision, scales of INT8 by `calibration`; as it is where it was prepared before.

    BackendError where it is no ONNX, was prepared for another precision, or cannot be written in this one.
    """
    if precision not in (_FP16, INT8):
        return model
    before = read_interface(backend, model).metadata.get(_MARK, "")
    if before == precision:
        return model
    if before:
        raise BackendError(backend, f"the model was prepared for {before}, and {precision} is asked for.")
    if precision == _FP16:
        return to_fp16(backend, model)
    largest = largest_magnitudes(backend, model, calibration or Calibration())
    return to_int8(backend, model, largest)


def prepared_for_board(backend: str, model: bytes, precision: str, calibration: Calibration) -> bytes:
    """The same, which says so of itself where it is another model now."""
    made = prepared(backend, model, precision, calibration)
    return model if made is model else with_metadata(made, _MARK, precision)
