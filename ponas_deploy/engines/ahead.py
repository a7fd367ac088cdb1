"""An engine of a given network for GPUs of a compute capability, built where there is none of them.

A runtime that compiles its kernels on the GPU needs none to build (`registry.ahead_of_time`). Nothing is run,
so that neither outputs nor latency are known: the folder says that the engine is still to be measured.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from ponas_deploy.backends import OnBuildProgress, registry
from ponas_deploy.engines.emit import build, emit, move_all, refuse_existing, scratch_beside
from ponas_deploy.engines.engine import Engine
from ponas_deploy.engines.export import weights_for
from ponas_deploy.engines.loop import now
from ponas_deploy.engines.manifest import Manifest, gpus_of
from ponas_deploy.engines.task import WeightsSource
from ponas_deploy.engines.weights import refuse_other_network
from ponas_deploy.errors import UnknownNameError
from ponas_deploy.files.notes import OnNote, no_note
from ponas_deploy.tables.latency import Conditions
from searchspace.architecture import Architecture


def export_ahead(
    architecture: Architecture,
    compute_capability: str,
    *,
    backend: str,
    out: Path | str,
    precision: str | None = None,
    batch: int = 1,
    weights: WeightsSource | Path | str | None = None,
    data: str | None = None,
    finetune: int = 0,
    calibration: Path | str | None = None,
    seed: int = 0,
    overwrite: bool = False,
    on_note: OnNote = no_note,
    on_build: OnBuildProgress | None = None,
) -> Engine:
    """Build a given network for GPUs of a compute capability, on any machine; it is still to be measured.

    Args:
        architecture: the network, of its space, resolution and classes.
        compute_capability: that of the GPUs, as in "8.9".
        backend: a runtime that builds ahead of time.
        out: the folder that the engine goes to.
        precision: None for the first one that such GPUs have.
        batch: images of one run.
        weights: a file (safetensors, .pth) or a source of weights; None for random ones.
        data: the data set of the weights, where the file does not say it.
        finetune: epochs that inherited weights are fine-tuned.
        calibration: images for the scales of int8: a folder, or a .npy file, (count, 3, PX, PX) float32.
        seed: of random weights and of fine-tuning.
        overwrite: whether an engine in `out` is replaced.
        on_note, on_build: called with lines for people, and with how far a build is.

    Returns: the engine; its `measured` is None. `verify(out, here=True)` on such a GPU measures it and
        writes nothing; `export` there makes an engine that is measured.

    Raises: OverwriteError for a folder that is there, UnknownNameError for an unknown runtime or precision,
    WeightsError for weights of another network, BackendError for a runtime that builds on its device only, is
    missing, has no engines for such GPUs, or refuses the network.
    """
    folder = Path(out)
    refuse_existing(folder, overwrite=overwrite)
    conditions, environment = _conditions(backend, compute_capability, precision, batch)
    source = weights_for(architecture.space, weights, data, finetune, seed, calibration, on_note)
    refuse_other_network(source, architecture)
    images = source.scale_images(conditions.precision)
    on_note(f"building for {conditions.text}; no such GPU is asked for, so that nothing is measured ...")
    with scratch_beside(folder) as scratch:
        made = scratch / "engine"
        made.mkdir()
        engine = build(
            architecture,
            (source.finish or source.tensors)(architecture),
            conditions,
            made,
            images,
            on_build,
            source.metadata(architecture),
            compute_capability=compute_capability,
        )
        manifest = replace(
            Manifest.of(architecture, conditions, source.description, now()),
            engine_file=engine.name,
            environment=(*environment, *source.scales_from(conditions.precision)),
            warnings=source.warnings_unmeasured,
            preprocessing=source.preprocessing,
            class_names=source.class_names,
            batch_norm=source.batch_norm,
            trained=source.trained,
        )
        complete = emit(manifest, folder, lambda to: move_all(made, to), overwrite=overwrite)
    return Engine(folder, complete)


def _conditions(
    backend: str, compute_capability: str, precision: str | None, batch: int
) -> tuple[Conditions, tuple[tuple[str, str], ...]]:
    """What it is built for, and what with."""
    builder = registry.ahead_of_time(backend, compute_capability)
    known = builder.precisions()
    if precision is not None and precision not in known:
        raise UnknownNameError(
            f"precision of {backend} on compute capability {compute_capability}", precision, known
        )
    conditions = Conditions(gpus_of(compute_capability), backend, precision or known[0], 1, batch)
    return conditions, builder.environment()
