"""`ponas verify`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ponas_deploy.commands.boundary import CANNOT_BE_TOLD, FAILED
from ponas_deploy.commands.options import Json
from ponas_deploy.commands.output import note, print_json, show


def verify(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="An engine folder.", show_default=False)],
    layers: Annotated[
        bool, typer.Option("--layers", help="Print what each layer takes too, where the runtime says it.")
    ] = False,
    here: Annotated[
        bool, typer.Option("--here", help="Run it on this machine, whatever device it was built on.")
    ] = False,
    json: Json = False,
) -> None:
    """Check an engine: its files, its outputs against ONNX Runtime, and its latency, measured again.

    The budget is compared with the percentile that was promised, within the noise floor: the one printed
    with the engine, or that of now where it is larger. An engine over it is timed a second time, and both
    measurements count. Above a noise of 25 % a budget that the noise reaches is neither met nor missed: that
    cannot be told. Layers are timed in runs of their own, each waiting for the one before, so that their sum
    is more than a run takes.

    Exit code 1 when a file changed, the network is not the manifest's, the outputs differ or the budget is
    missed now; 3 when all else holds and it cannot be told whether the budget is met. An engine of a device
    that is neither this machine nor in your device book is not run: its files and its portable network are
    checked, and the rest cannot be told. Nothing is written into the folder: an engine that was built ahead
    of time for GPUs that were not here (`ponas export --compute-capability`) stays unmeasured in its
    manifest; `ponas export ARCH --device gpu --backend tensorrt-rtx` on such a GPU makes one that is
    measured.

    An INT8 engine is compared on eight inputs of noise, and on eight of the images that its scales come from
    where they are still here; the median difference of each counts.

    \b
    Examples:
      ponas verify engines/amd-epyc-2c-3-ms
      ponas verify engines/amd-epyc-2c-3-ms --json
      ponas verify engines/nvidia-h200-300us --layers
    """
    from ponas_deploy.checks.engine import verify as verify_engine
    from ponas_deploy.checks.engine_document import verification_document

    found = verify_engine(folder, note, here=here)
    timed = _layers(folder, here=here) if layers and not (found.changed_files or found.unreached) else ()
    if json:
        print_json(verification_document(found, timed))
    else:
        from ponas_deploy.commands.reports.engine import verification_report
        from ponas_deploy.commands.reports.layers import layers_report

        show(verification_report(found))
        if timed:
            show(layers_report(timed))
    if not found.passed:
        raise typer.Exit(CANNOT_BE_TOLD if found.cannot_be_told else FAILED)


def _layers(folder: Path, *, here: bool) -> tuple[tuple[str, float], ...]:
    """What each layer takes; a line says why where its runtime does not time layers: the rest was checked."""
    from ponas_deploy.checks.engine import layer_times_ms
    from ponas_deploy.errors import BackendError

    try:
        return layer_times_ms(folder, here=here)
    except BackendError as error:
        note(str(error))
        return ()
