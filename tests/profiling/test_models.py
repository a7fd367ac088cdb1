"""What a profile times is what an engine is made of."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import numpy_helper

from ponas_deploy.profiling.models import network_bytes
from searchspace import Architecture, Space


def test_biases_are_not_zero_because_a_runtime_leaves_those_out(tiny: Space) -> None:
    choices = tuple(layer.candidates[0].label for layer in tiny.layers)
    graph = onnx.load_from_string(network_bytes(Architecture(tiny, choices), 1)).graph
    tensors = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    biases = [tensors[node.input[2]] for node in graph.node if node.op_type in ("Conv", "Gemm")]
    assert len(biases) > 3
    assert all(np.count_nonzero(bias) == bias.size for bias in biases)
