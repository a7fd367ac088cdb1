"""`ponas schema`: what documents and `--json` hold, as JSON Schemas."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from ponas_deploy.commands import completing
from ponas_deploy.commands.output import print_json

DOCUMENTS = {
    "ponas.latency-table": "ponas_deploy.tables.latency_file:LATENCY_TABLE",
    "ponas.accuracy-table": "ponas_deploy.tables.accuracy_file:ACCURACY_TABLE",
    "ponas.board": "ponas_deploy.boards.facts:RECORD",
    "ponas.board-figures": "ponas_deploy.fitting.board_figures:BOARD_FIGURES",
    "ponas.whole-networks": "ponas_deploy.profiling.random_networks:FORMAT",
    "ponas.engine": "ponas_deploy.engines.manifest_file:ENGINE",
    "ponas.tensorrt-engine": "ponas_deploy.backends._tensorrt_files:FORMAT",
    "ponas.trtexec-engine": "ponas_deploy.backends.trtexec:FORMAT",
    "ponas.onnxruntime-engine": "ponas_deploy.backends.onnxruntime_gpu:FORMAT",
    "ponas.torch-engine": "ponas_deploy.backends.torch:FORMAT",
    "ponas.training-run": "train.files.documents:RUN",
    "ponas.specialized-run": "train.files.documents:SPECIALIZED_RUN",
    "ponas.transfer-run": "train.files.documents:TRANSFER_RUN",
    "ponas.specialized": "train.files.documents:SPECIALIZED",
    "ponas.image-check": "train.data.file_images:CHECK",
    "ponas.fractals": "train.fractal.cache:DRAWN",
}
"""Where the `Format` of each document is, `module:name`; it is loaded when somebody asks for it."""

PRINTED: dict[str, tuple[str, ...]] = {
    "ponas": ("ponas_deploy.checks.overview:Overview",),
    "describe": ("searchspace.description:DescriptionDocument",),
    "specialize": (
        "ponas_deploy.commands.documents.choice:ChoiceDocument",
        "ponas_deploy.engines.documents:engine_document_type",
        "ponas_deploy.commands.documents.fleet:fleet_document_type",
    ),
    "pareto": ("ponas_deploy.search.comparison:ParetoDocument",),
    "table import": ("ponas_deploy.commands.documents.table:ImportedDocument",),
    "table fit": ("ponas_deploy.commands.documents.table:FittedDocument",),
    "table predict": ("ponas_deploy.fitting.predictions:PredictionsDocument",),
    "table check": ("ponas_deploy.checks.table_file:FindingsDocument",),
    "table diff": ("ponas_deploy.tables.diff:DiffDocument",),
    "table show": (
        "ponas_deploy.commands.documents.table:ShownLatencyTable",
        "ponas_deploy.commands.documents.table:ShownAccuracyTable",
    ),
    "table certify": ("ponas_deploy.commands.documents.table:CertifiedDocument",),
    "table int8": ("ponas_deploy.commands.documents.int8:Int8Document",),
    "table recheck": ("ponas_deploy.checks.latency_table:RechecksDocument",),
    "profile": ("ponas_deploy.commands.documents.profile:ProfileDocument",),
    "devices": ("ponas_deploy.commands.documents.devices:DevicesDocument",),
    **dict.fromkeys(
        ("devices add", "devices show", "devices test"),
        ("ponas_deploy.commands.documents.devices:BoardDocument",),
    ),
    "devices list": ("ponas_deploy.commands.documents.devices:DevicesDocument",),
    "doctor": ("ponas_deploy.checks.machine:DoctorDocument",),
    "verify": ("ponas_deploy.checks.engine_document:VerificationDocument",),
    "export": ("ponas_deploy.engines.documents:engine_document_type",),
    "compare": (
        "ponas_deploy.search.predictions:compared_networks_type",
        "ponas_deploy.engines.comparison_document:ComparisonsDocument",
    ),
    "report": ("ponas_deploy.charts.written:ReportDocument",),
    "measure": ("ponas_deploy.engines.measured_model:MeasuredModelDocument",),
    "networks": ("ponas_deploy.commands.documents.networks:MeasuredNetworks",),
    "evaluate": ("ponas_deploy.commands.documents.evaluation:EvaluationDocument",),
    "weights": ("ponas_deploy.engines.published_weights:PublishedWeights",),
    "search": ("ponas_deploy.commands.documents.search:SearchDocument",),
    "train": ("ponas_deploy.commands.train.documents:TrainedDocument",),
    "train table": (
        "ponas_deploy.commands.train.documents:FittedRunTable",
        "ponas_deploy.commands.train.documents:ProgressiveTable",
    ),
    "train transfer": ("ponas_deploy.commands.train.documents:TransferredDocument",),
    "train specialized": ("train.files:SpecializedPrinted",),
    "train status": ("ponas_deploy.commands.train.documents:StatusDocument",),
}
"""Where the type of what a command prints with `--json` is, or a function that returns it: one each form."""


def schema(
    name: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[NAME]",
            autocompletion=completing.documents,
            show_default="list the names",
            help="A document (ponas.latency-table) or a command that has --json (table fit).",
        ),
    ] = None,
) -> None:
    """Print the JSON Schema of a document that this program writes, or of what a command's --json prints.

    Without a name the names are listed, one a line: documents, whose first key is their format, then
    commands. What ponas specialize prints has three forms: with --device it is the engine that was measured,
    with several those of all of them. What ponas compare prints has two: with --device it is what was
    measured side by side.

    \b
    Examples:
      ponas schema
      ponas schema ponas.latency-table
      ponas schema table fit
      ponas schema specialize > specialize.schema.json
    """
    if not name:
        typer.echo("\n".join((*DOCUMENTS, *PRINTED)))
        return
    print_json(schema_named(" ".join(name)))


def schema_named(name: str) -> dict[str, Any]:
    """The JSON Schema of a document or of a command's `--json`; UnknownNameError for any other name."""
    from ponas_deploy.errors import UnknownNameError
    from ponas_deploy.files.schemas import document_schema, schema_of

    if name in DOCUMENTS:
        return document_schema(found_at(DOCUMENTS[name]))
    if name not in PRINTED:
        raise UnknownNameError("document or command with --json", name, (*DOCUMENTS, *PRINTED))
    return schema_of(*map(printed_type, PRINTED[name]))


def printed_type(place: str) -> Any:
    """The type at `module:name`, or what the function there returns."""
    found = found_at(place)
    return found if isinstance(found, type) else found()


def found_at(place: str) -> Any:
    """What `module:name` names; MissingExtraError where its module needs a package that is not here."""
    from importlib import import_module

    from ponas_deploy.errors import MissingExtraError

    module, _, name = place.partition(":")
    try:
        return getattr(import_module(module), name)
    except ModuleNotFoundError as error:
        if error.name and error.name.split(".")[0] not in ("ponas_deploy", "searchspace", "train"):
            raise MissingExtraError(f"{error.name}, which this document's reader needs,", "train") from error
        raise
