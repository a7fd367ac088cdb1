"""TensorRT's builds on a stand-in: what is asked for and kept, how far it is, where INT8 scales come from."""

from __future__ import annotations

import os
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tensorrt_standin import Machine

from ponas_deploy.backends import RunSettings
from ponas_deploy.backends._tensorrt_build import BuildPlan
from ponas_deploy.backends._tensorrt_files import Cache
from ponas_deploy.backends._tensorrt_progress import Phases
from ponas_deploy.backends.onnx_calibration import Calibration
from ponas_deploy.backends.progress import BuildProgress
from ponas_deploy.backends.tensorrt import TensorRtBackend
from ponas_deploy.engines.building import backend_for
from ponas_deploy.engines.emit import build
from ponas_deploy.engines.loop import _on_machine, build_and_measure
from ponas_deploy.engines.task import WeightsSource, random_source
from ponas_deploy.errors import BackendError, PonasError
from ponas_deploy.measuring.place import HERE as PLACE
from ponas_deploy.measuring.protocol import Plan
from ponas_deploy.profiling.bench import Bench
from ponas_deploy.tables.latency import Conditions
from searchspace import Architecture, Space
from searchspace.graph import network_model
from searchspace.weights import random_weights

PRECISIONS = ("fp32", "tf32", "fp16", "int8")


def again(machine: Machine) -> TensorRtBackend:
    """What a new process has."""
    return TensorRtBackend()


def test_the_network_is_strongly_typed_and_tf32_is_off_unless_asked_for(
    tensorrt: TensorRtBackend, machine: Machine, model: bytes
) -> None:
    for precision in PRECISIONS:
        tensorrt.load(model, RunSettings(precision)).close()
        switch = "+TF32" if precision == "tf32" else "-TF32"
        assert machine.flags == ["network 2", "workspace 1024 MiB", switch, "level 3 aux 0"], precision
        machine.flags.clear()


def test_tensorrt_11_has_no_flag_for_strong_types_and_needs_none(
    tensorrt: TensorRtBackend, machine: Machine, model: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    flags = __import__("sys").modules["tensorrt"].NetworkDefinitionCreationFlag
    monkeypatch.delattr(flags, "STRONGLY_TYPED")
    tensorrt.load(model, RunSettings()).close()
    assert machine.flags[0] == "network 0"


def test_a_gpu_before_ampere_has_no_tf32(machine: Machine) -> None:
    machine.capability = (7, 5)
    assert TensorRtBackend().precisions() == ("fp32", "fp16", "int8")


def test_an_engine_is_built_once_and_saved_as_it_was_timed(
    tensorrt: TensorRtBackend, machine: Machine, model: bytes, tmp_path: Path
) -> None:
    for precision in PRECISIONS:
        settings = RunSettings(precision)
        builds = machine.builds
        tensorrt.load(model, settings).close()
        files = again(machine).save(model, settings, tmp_path / precision)
        again(machine).load(model, settings).close()
        assert machine.builds == builds + 1
        assert [file.name for file in files] == [
            "engine.plan",
            "engine.onnx",
            "engine.tensorrt.json",
        ]
        assert {file.name for file in (tmp_path / precision).iterdir()} == {file.name for file in files}
        plan, fed = files[0].read_bytes(), files[1].read_bytes()
        assert plan.endswith(fed)
        assert fed == tensorrt.fed_model(model, precision)
        tensorrt.open(files[0], settings).close()
        assert machine.builds == builds + 1


def test_what_is_deployed_is_the_engine_that_was_profiled(
    machine: Machine, tiny: Space, tmp_path: Path
) -> None:
    architecture = Architecture.from_indices(tiny, (3, 0, 1))
    weights = random_weights(architecture)
    made = network_model(architecture, weights, 2).SerializeToString()
    TensorRtBackend().load(made, RunSettings("fp16")).close()
    engine = build(architecture, weights, Conditions("gpu", "tensorrt", "fp16", 1, 2), tmp_path)
    assert (engine.name, machine.builds) == ("engine.plan", 1)
    (kept,) = TensorRtBackend()._cache.folder.glob("*.plan")
    assert engine.read_bytes() == kept.read_bytes()
    assert (tmp_path / "model.onnx").read_bytes() == made


def test_other_settings_are_another_engine(machine: Machine, model: bytes) -> None:
    TensorRtBackend().load(model, RunSettings()).close()
    TensorRtBackend(optimization_level=5).load(model, RunSettings()).close()
    TensorRtBackend(workspace_mib=64).load(model, RunSettings()).close()
    TensorRtBackend().load(model, RunSettings("tf32")).close()
    assert machine.builds == 4
    TensorRtBackend().load(model, RunSettings(threads=2)).close()
    assert machine.builds == 4


def test_kernel_timings_are_kept_for_a_device_and_a_version(machine: Machine, model: bytes) -> None:
    backend = TensorRtBackend()
    backend.load(model, RunSettings()).close()
    assert "timing cache of 0 bytes" in machine.calls
    TensorRtBackend().load(model, RunSettings("fp16")).close()
    assert "timing cache of 5 bytes" in machine.calls
    machine.calls.clear()
    machine.name = "NVIDIA Other"
    TensorRtBackend().load(model, RunSettings()).close()
    assert "timing cache of 0 bytes" in machine.calls


def test_timings_that_tensorrt_does_not_take_are_made_again(machine: Machine, model: bytes) -> None:
    TensorRtBackend().load(model, RunSettings()).close()
    machine.cache_refused = b"timed"
    machine.build_fails = "no kernel"
    with pytest.raises(BackendError, match="cannot be built: no kernel"):
        TensorRtBackend().load(model, RunSettings("fp16"))
    machine.build_fails = ""
    machine.calls.clear()
    TensorRtBackend().load(model, RunSettings("fp16")).close()
    assert "timing cache of 0 bytes" in machine.calls


def test_the_engines_that_were_not_used_for_longest_go_first(tmp_path: Path) -> None:
    cache = Cache(tmp_path, limit_bytes=25)
    for number, name in enumerate(("first", "second")):
        cache.keep(name, b"x" * 10, b"")
        os.utime(tmp_path / f"{name}.plan", (number, number))
    assert cache.engine("first") == b"x" * 10  # used now, so that the second is the oldest
    cache.keep("third", b"x" * 10, b"")
    assert (cache.engine("first"), cache.engine("second")) == (b"x" * 10, None)
    assert cache.engine("third") == b"x" * 10


def test_progress_is_that_of_the_outermost_phase(machine: Machine, model: bytes) -> None:
    seen: list[BuildProgress] = []
    TensorRtBackend(on_progress=seen.append).load(model, RunSettings()).close()
    assert seen == [BuildProgress("Building", done, 2) for done in (0, 1, 2, 2)]


def test_progress_says_how_much_of_the_next_step_is_done_by_the_phases_in_it() -> None:
    seen: list[str] = []
    phases = Phases(lambda progress: seen.append(progress.text))
    phases.begin("Building", None, 2)
    phases.step("Building", 1)
    phases.begin("Timing", "Building", 2)
    phases.begin("Kernels", "Timing", 10)
    for done in range(1, 11):
        phases.step("Kernels", done)
    phases.end("Kernels")
    phases.step("Timing", 1)  # no more than was told
    phases.begin("Kernels", "Timing", 400)
    phases.step("Kernels", 1)  # less than a percent
    phases.step("Kernels", 200)
    phases.end("Kernels")
    phases.end("Timing")
    phases.step("Building", 2)
    phases.end("Building")
    phases.step("Never begun", 1)
    inside = [f"Building: 1 of 2, {percent} % of the next" for percent in (*range(5, 55, 5), 75)]
    ends = ["Building: 2 of 2", "Building: 2 of 2"]
    assert seen == ["Building: 0 of 2", "Building: 1 of 2", *inside, *ends]


def test_phases_that_name_each_other_as_parents_end() -> None:
    phases = Phases(lambda progress: None)
    phases.begin("a", "b", 1)
    phases.begin("b", "a", 1)
    phases.step("a", 1)
    phases.end("a")


@pytest.mark.parametrize("raised", [KeyboardInterrupt(), ValueError("of whoever shows it")])
def test_what_is_raised_in_a_build_ends_it_and_is_raised_after_it(
    machine: Machine, model: bytes, raised: BaseException
) -> None:
    told: list[BuildProgress] = []

    def interrupt(progress: BuildProgress) -> None:
        told.append(progress)
        raise raised

    with pytest.raises(type(raised)) as caught:
        TensorRtBackend(on_progress=interrupt).load(model, RunSettings())
    assert caught.value is raised
    assert (machine.builds, len(told)) == (0, 1)


def test_a_profile_says_how_far_a_long_build_is(
    machine: Machine, tiny: Space, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ponas_deploy.profiling.bench._REPORTED_EVERY_S", -1.0)
    lines: list[str] = []
    backend = TensorRtBackend()
    bench = Bench(
        space=tiny,
        backend=backend,
        settings=RunSettings(),
        batch=1,
        device="gpu",
        plan=Plan(),
        deadline=0.0,
        on_progress=lambda progress: lines.append(progress.text),
        on_step=lambda step: None,
    )
    with ExitStack() as stack:
        bench.networks(stack, [Architecture.from_indices(tiny, (3, 0, 1)).text])
    network = "building network 1 of 1"
    assert lines == [network, *(f"{network}, Building: {done} of 2" for done in (0, 1, 2, 2))]


def test_trained_weights_get_no_scales_of_random_images(
    machine: Machine, tiny: Space, images: np.ndarray, tmp_path: Path
) -> None:
    """By way of the command line's own steps, to the manifest."""
    architecture = Architecture.from_indices(tiny, (3, 0, 1))
    trained = WeightsSource("w.safetensors, as they are", lambda a: random_weights(a, 0))
    conditions = Conditions("gpu", "tensorrt", "int8", 1, 2)
    with pytest.raises(PonasError, match=r"w.safetensors.* --calibration .*FILE.npy.* --data"):
        build_and_measure(architecture, trained, conditions, tmp_path / "none")
    assert machine.builds == 0
    assert trained.scale_images("fp16") is None
    assert random_source().scale_images("int8") is None

    size = tiny.resolution
    shown = np.random.default_rng(1).standard_normal((3, 3, size, size)).astype(np.float32)
    source = replace(trained, images=lambda: shown)
    folder = tmp_path / "engine"
    folder.mkdir()
    given = source.scale_images("int8")
    assert given is not None
    engine = build(architecture, source.tensors(architecture), conditions, folder, given)
    fed = (folder / "engine.onnx").read_bytes()
    model = (folder / "model.onnx").read_bytes()
    wanted = TensorRtBackend(calibration=Calibration(shown)).fed_model(model, "int8")
    assert fed == wanted != TensorRtBackend().fed_model(model, "int8")
    made_in = _on_machine(PLACE, source, conditions, engine)["environment"]
    assert "maximum of 3 images" in dict(made_in)["int8_scales"]
    with pytest.raises(BackendError, match=r"the images are \(3, 8, 8\) each, the model takes"):
        build(architecture, source.tensors(architecture), conditions, tmp_path / "other", shown[:, :, :8, :8])
    with pytest.raises(BackendError, match="takes no images"):
        backend_for(Conditions("cpu", "fake", "fp32", 1, 1), shown)


def test_scales_come_from_the_images_that_are_given(
    machine: Machine, model: bytes, images: np.ndarray
) -> None:
    bright = TensorRtBackend(calibration=Calibration(5 * images))
    plain = TensorRtBackend(calibration=Calibration(images))
    assert bright.fed_model(model, "int8") != plain.fed_model(model, "int8")
    assert "2 images" in dict(plain.environment())["int8_scales"]
    assert images.shape == (2, 3, 32, 32)


def test_the_environment_names_what_an_engine_depends_on(tensorrt: TensorRtBackend) -> None:
    environment = dict(tensorrt.environment())
    assert environment["runtime"] == "tensorrt 10.3.0"
    assert environment["gpu"] == "NVIDIA Stand-in"
    assert (environment["compute_capability"], environment["cuda"]) == ("8.7", "13.2")
    assert environment["build"] == BuildPlan().text == replace(BuildPlan(), tf32=True).text
