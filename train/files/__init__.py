"""The folder of a training run: its settings, log, lock and finished rows, and how far it is. No torch."""

from train.files.claim import claim
from train.files.documents import (
    RUN,
    SPECIALIZED,
    SPECIALIZED_RUN,
    TRANSFER_RUN,
    RunDocument,
    SourceFile,
    SpecializedDocument,
    SpecializedPrinted,
)
from train.files.log import Line, RunLog, read_log
from train.files.paths import RunPaths, finished
from train.files.rows import grid_of, rows_of, rows_text
from train.files.status import Status, read_status

__all__ = [
    "RUN",
    "SPECIALIZED",
    "SPECIALIZED_RUN",
    "TRANSFER_RUN",
    "Line",
    "RunDocument",
    "RunLog",
    "RunPaths",
    "SourceFile",
    "SpecializedDocument",
    "SpecializedPrinted",
    "Status",
    "claim",
    "finished",
    "grid_of",
    "read_log",
    "read_status",
    "rows_of",
    "rows_text",
]
