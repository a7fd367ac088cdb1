"""The real ONNX Runtime, with the GPU providers of `tests/backends/onnxruntime_standin.py` beside its own."""

import sys
from importlib import import_module
from pathlib import Path

_HERE, _PATH = Path(__file__).resolve().parents[1], list(sys.path)
sys.path[:] = [place for place in _PATH if Path(place).resolve() != _HERE]
del sys.modules["onnxruntime"]
real = import_module("onnxruntime")
sys.path[:] = _PATH

from stand_in_gpu import dress  # noqa: E402

dress(real)
