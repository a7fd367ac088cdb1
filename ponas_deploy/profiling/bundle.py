"""An archive that a person carries to a board: what runs there, the models of a space, and the plan.

It is a zip archive that Python runs (`python3 bundle.pyz`), unpacked or not: `__main__.py`, the modules of
the pack, the models as parcels with the patterns that they share, and `bundle.json`, the plan. Networks are
chosen before anything is timed, by what cells cost in multiply-accumulates: nested groups of them, of which
the board takes the largest that it has time for.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from hashlib import sha256
from itertools import islice
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import numpy as np

from ponas_deploy.backends import registry
from ponas_deploy.backends.onnx_calibration import Calibration
from ponas_deploy.backends.onnx_prepared import prepared_for_board
from ponas_deploy.backends.onnx_quantised import form_for
from ponas_deploy.errors import PonasError, UnknownNameError
from ponas_deploy.files.journal import FORMAT as JOURNAL_FORMAT
from ponas_deploy.files.opening import refuse_file
from ponas_deploy.files.records import write_bytes
from ponas_deploy.fitting.correction import LEAST_CHECK, LEAST_FIT
from ponas_deploy.machines.names import slug
from ponas_deploy.measuring.plans import plan_for
from ponas_deploy.profiling.assemble import NetworkSplit
from ponas_deploy.profiling.mixed import with_precisions
from ponas_deploy.profiling.models import block_model, blocks_of, network_bytes, working_bytes
from ponas_deploy.profiling.priority import losses
from ponas_deploy.profiling.progress import DONE, OnProgress, ProfilingProgress, at_stage
from ponas_deploy.profiling.resume import expected_protocol
from ponas_deploy.profiling.sampling import MOST_CHECK, MOST_FIT, Costs, choose, grown
from ponas_deploy.profiling.spread import spread_networks
from ponas_deploy.profiling.target import THIS_MACHINE, Target
from ponas_deploy.remote.carried_files import BLOBS, FORMAT, PLAN, add
from ponas_deploy.remote.pack import pack
from ponas_deploy.remote.parcels import parcels
from ponas_deploy.tables.grid import SpaceKey
from searchspace.architecture import Architecture
from searchspace.cost import cost_table, count_macs
from searchspace.space import Space

MAIN = '''\
"""Measures this machine for ponas-deploy: `python3 THIS --help`."""
import os
import sys

if sys.version_info < (3, 8):
    sys.exit(
        "this archive needs Python 3.8 or newer with NumPy and a runtime, and %s is Python %s: run it with"
        " another one." % (sys.executable, sys.version.split()[0])
    )
try:
    import numpy
except ImportError as error:
    sys.exit("%s cannot import NumPy (%s): install it, or run this with the Python that has it." % (
        sys.executable, error))

sys.dont_write_bytecode = True
from ponas_deploy.remote.carried import main

if __name__ == "__main__":
    sys.exit(main(os.path.dirname(os.path.abspath(__file__)), sys.argv[1:]))
'''
"""What Python runs there first: any version of it can read this."""
_START = b"#!/usr/bin/env python3\n"
_STEP = 12
"""So many more networks each group has than the one before."""
_MODELS_AT_ONCE = 8
"""So many are in the memory at a time."""


@dataclass(frozen=True, slots=True)
class BundleOptions:
    """What is measured beside the space: each runtime at each precision, for `seconds` each.

    Without runtimes it is the one that processors are profiled with first, without precisions a runtime's
    first one on the board, and without a `name` the board's own.
    """

    backends: tuple[str, ...] = registry.default_backends()[:1]
    precisions: tuple[str, ...] = ()
    threads: int = 1
    batch: int = 1
    seconds: float = 75.0
    name: str = ""
    seed: int = 0
    streams: int = 1


@dataclass(frozen=True, slots=True)
class Bundle:
    """An archive that was written, and how many profiles, blocks and networks it holds."""

    path: Path
    profiles: int
    blocks: int
    networks: int


def make_bundle(
    space: Space,
    options: BundleOptions,
    path: Path,
    *,
    overwrite: bool = False,
    on_progress: OnProgress | None = None,
) -> Bundle:
    """Write the archive for a space, in mixed precision for the mixed one of it (`profiling.mixed`).

    UnknownNameError for a runtime that boards do not have, BackendError for one that does not run on so many
    streams, PonasError for one whose models are written for a precision where none is named, OverwriteError
    where `path` is there, MeasurementError for a space with too few networks.
    """
    space, target = with_precisions(space, Target(THIS_MACHINE, precisions=options.precisions))
    options = replace(options, precisions=tuple(target.precisions))
    profiles = _profiles(options)
    refuse_file(path, overwrite=overwrite)
    costs = [np.array(row, dtype=np.float64) for row in cost_table(count_macs, space)[1]]
    groups = levels(space, costs, options.seed)
    middle = _middle(space, costs, options.seed)
    blocks = blocks_of(space)
    texts = dict.fromkeys((middle.text, *groups[-1].fit, *groups[-1].check))
    models: dict[str, Callable[[], bytes]] = {
        **{key: partial(block_model, key, block, options.batch, space.name) for key, block in blocks.items()},
        **{
            text: partial(network_bytes, Architecture.from_text(space, text), options.batch) for text in texts
        },
    }
    kinds = tuple(dict.fromkeys(map(_written_for, profiles)))
    shas, blobs = _packed(models, kinds, on_progress or (lambda progress: None))
    document = {
        "format": FORMAT,
        "space": SpaceKey.of(space).document(),
        "name": slug(options.name) if options.name else "",
        "batch": options.batch,
        "seed": options.seed,
        "seconds": options.seconds,
        "profiles": [
            {
                **profile_of(SpaceKey.of(space), *profile, options.threads, options.seed, options.streams),
                "models": shas[_written_for(profile)],
            }
            for profile in profiles
        ],
        "blocks": list(blocks),
        "trial": (middle.text, len(network_bytes(middle, options.batch))),
        "working_bytes": working_bytes(middle, options.batch),
        "levels": [{"fit": one.fit, "check": one.check} for one in groups],
    }
    write_bytes(path, archive(document, blobs), overwrite=overwrite)
    return Bundle(path, len(profiles), len(blocks), len(texts))


def profile_of(
    space: SpaceKey, backend: str, precision: str, threads: int, seed: int, streams: int
) -> dict[str, Any]:
    """One profile of a plan: the runtime, how it is measured, and what its journal begins with there."""
    plan = plan_for(backend)
    return {
        "backend": backend,
        "precision": precision,
        "threads": threads,
        "streams": streams,
        "plan": asdict(plan),
        "header": {
            "format": JOURNAL_FORMAT,
            "space": space.document(),
            "protocol": expected_protocol(plan, seed),
        },
    }


def levels(space: Space, costs: Costs, seed: int) -> tuple[NetworkSplit, ...]:
    """Groups of networks, each with all of the one before: from the fewest that certify a table on."""
    loss = losses(space, None)
    found = [choose(space, costs, loss, LEAST_FIT + LEAST_CHECK, seed)]
    for count in range(LEAST_FIT + LEAST_CHECK + _STEP, MOST_FIT + MOST_CHECK + 1, _STEP):
        more = grown(found[-1], space, costs, loss, count, seed)
        if more == found[-1]:
            break
        found.append(more)
    return tuple(found)


def archive(document: Mapping[str, Any], blobs: Mapping[str, bytes]) -> bytes:
    """The archive of a plan and the blobs that it names; the same for the same ones."""
    made = io.BytesIO()
    made.write(_START)
    with ZipFile(made, "a") as written, ZipFile(io.BytesIO(pack())) as sources:
        add(written, "__main__.py", MAIN.encode())
        for name in sources.namelist():
            add(written, name, sources.read(name), 9)
        add(written, PLAN, json.dumps(document).encode(), 9)
        for sha, content in sorted(blobs.items()):
            add(written, BLOBS + sha, content, 9)
    return made.getvalue()


def _middle(space: Space, costs: Costs, seed: int) -> Architecture:
    """The network that is built there to see what networks take."""
    picked = np.array(spread_networks(space.groups.joined(costs), 1, seed)[0], dtype=np.intp)
    return Architecture.from_indices(space, space.groups.choices(picked).tolist())


def board_runtimes() -> tuple[str, ...]:
    """The runtimes that the archive has the modules of."""
    return tuple(entry.name for entry in registry.ENTRIES if entry.on_boards)


def _profiles(options: BundleOptions) -> tuple[tuple[str, str], ...]:
    """Runtime and precision of each profile; an empty precision is the runtime's first one on the board."""
    for name in options.backends:
        if name not in board_runtimes():
            raise UnknownNameError("runtime of a board", name, board_runtimes())
        registry.with_streams([name], options.streams, named=True)
        if registry.strongly_typed(name) and not options.precisions:
            raise PonasError(
                f"models for {name} are written for a precision here: name one (--precision fp16)."
            )
    return tuple((name, precision) for name in options.backends for precision in options.precisions or ("",))


def _prepared(backend: str, model: bytes, precision: str) -> bytes:
    """A model for a board whose processor is not known: in INT8 as any takes it."""
    fused = registry.fuses_hard_swish(backend)
    form = None if registry.strongly_typed(backend) else form_for((), fuses_hard_swish=fused)
    return prepared_for_board(backend, model, precision, Calibration(), form)


def _written_for(profile: tuple[str, str]) -> tuple[str, str]:
    """The runtime and precision that the models of a profile are written for; empty where as they are."""
    return profile if registry.prepares(*profile) else ("", "")


def _packed(
    models: Mapping[str, Callable[[], bytes]], kinds: Sequence[tuple[str, str]], on_progress: OnProgress
) -> tuple[dict[tuple[str, str], dict[str, str]], dict[str, bytes]]:
    """For each kind of models the hash of the parcel by key, and parcels and patterns by theirs."""
    shas: dict[tuple[str, str], dict[str, str]] = {kind: {} for kind in kinds}
    blobs, done = dict[str, bytes](), 0
    for keys in _grouped(list(models), _MODELS_AT_ONCE):
        on_progress(ProfilingProgress("build", done, len(models), 0.0, f"{len(models)} models"))
        made = {key: models[key]() for key in keys}
        for backend, precision in kinds:
            written = {
                key: _prepared(backend, model, precision) if backend else model for key, model in made.items()
            }
            found, patterns = parcels(written)
            for content in (*found.values(), *patterns):
                blobs[sha256(content).hexdigest()] = content
            shas[backend, precision].update(
                {key: sha256(parcel).hexdigest() for key, parcel in found.items()}
            )
        done += len(keys)
    on_progress(at_stage(DONE, f"{len(models)} models"))
    return shas, blobs


def _grouped(things: Sequence[str], size: int) -> Iterator[list[str]]:
    left = iter(things)
    while group := list(islice(left, size)):
        yield group
