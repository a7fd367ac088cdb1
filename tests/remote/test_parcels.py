"""Models as they travel to a board: byte for byte the same there, and little of them."""

from __future__ import annotations

import sys
from functools import partial
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import onnx
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from numpy.typing import NDArray

from ponas_deploy.backends import RunSettings
from ponas_deploy.boards.book import Board, Entry
from ponas_deploy.profiling.models import block_model, blocks_of, network_bytes
from ponas_deploy.remote.parcels import parcels, unpacked
from ponas_deploy.remote.place import BoardPlace, place_on
from ponas_deploy.remote.rounds import groups_of
from searchspace import SPACES, Architecture, Space

DRAWN = np.random.default_rng(0).integers(0, 256, (3, 1 << 16), np.uint8)
DRAWN[1, :20_000] = DRAWN[0, :20_000]  # two that begin alike
SIZES = (0, 508, 512, 16_380, 16_384, 16_388, 20_000, 40_000)
NETWORKS = 9


@st.composite
def tensors(draw: st.DrawFn) -> NDArray[np.uint8]:
    """Bytes that repeat after some number of them, or not, of a size around those that matter."""
    period = draw(st.sampled_from((64, 1000, 16_384, 16_388, 1 << 16)))
    begin = draw(st.sampled_from((0, 0, 0, 4)))
    pattern = DRAWN[draw(st.integers(0, 2)), begin : begin + period]
    return np.resize(pattern, draw(st.sampled_from(SIZES)))


def model_of(weights: list[NDArray[np.uint8]], *, raw: bool) -> bytes:
    """A graph of nothing but weights."""
    made = []
    for number, weight in enumerate(weights):
        name, size = f"weight{number}", [len(weight) // 4]
        if raw:
            made.append(
                onnx.helper.make_tensor(name, onnx.TensorProto.INT32, size, weight.tobytes(), raw=True)
            )
        else:
            values = weight.view(np.int32).tolist()
            made.append(onnx.helper.make_tensor(name, onnx.TensorProto.INT32, size, values))
    graph = onnx.helper.make_graph([], "weights", [], [], initializer=made)
    return bytes(onnx.helper.make_model(graph).SerializeToString())


def unpacked_all(models: dict[str, bytes]) -> tuple[dict[str, bytes], int]:
    """The models as a board puts them together, and the bytes that travelled."""
    made, patterns = parcels(models)
    with TemporaryDirectory() as folder:
        for pattern in patterns:
            (Path(folder) / sha256(pattern).hexdigest()).write_bytes(pattern)
        found = {key: unpacked(parcel, lambda sha: Path(folder) / sha) for key, parcel in made.items()}
    return found, sum(map(len, patterns)) + sum(map(len, made.values()))


ALIKE = [np.resize(DRAWN[0, :period], 20_000) for period in (1 << 16, 16_384)]


@example([(ALIKE, True)])
@given(st.lists(st.tuples(st.lists(tensors(), max_size=4), st.booleans()), min_size=1, max_size=3))
def test_models_are_put_together_byte_for_byte(drawn: list[tuple[list[NDArray[np.uint8]], bool]]) -> None:
    models = {str(number): model_of(weights, raw=raw) for number, (weights, raw) in enumerate(drawn)}
    assert unpacked_all(models)[0] == models


def send_as_a_profile(place: BoardPlace, space: Space, seed: int) -> None:
    """The models of a short profile: every block, and networks."""
    rng = np.random.default_rng(seed)
    blocks = {key: partial(block_model, key, block, 1) for key, block in blocks_of(space).items()}
    drawn = [[int(rng.integers(len(row.candidates))) for row in space.layers] for _ in range(NETWORKS)]
    networks = [Architecture.from_indices(space, indices) for indices in drawn]
    whole = {network.text: partial(network_bytes, network, 1) for network in networks}
    for models in (blocks, whole):
        for group in groups_of(list(models)):
            place.send({key: models[key]() for key in group}, "onnxruntime", RunSettings())


def test_a_profile_sends_less_than_a_megabyte_and_far_less_the_next_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    here, space = Entry("here", Board(command=(), python=sys.executable)), SPACES["ponas"]()
    sent = []
    for seed in range(2):  # the second one has other networks
        with place_on(here, "test") as place:
            send_as_a_profile(place, space, seed)
            sent.append(place.job.sent_bytes)
    assert sent[0] < 1e6
    assert sent[1] < 35_000
