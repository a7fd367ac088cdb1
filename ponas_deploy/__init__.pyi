"""The public list with its types; `__init__.py` loads each name when it is first asked for."""

from ponas_deploy.backends import Backend as Backend
from ponas_deploy.backends import FakeBackend as FakeBackend
from ponas_deploy.backends import RunSettings as RunSettings
from ponas_deploy.backends import Session as Session
from ponas_deploy.charts.make import report as report
from ponas_deploy.checks.engine import Verification as Verification
from ponas_deploy.checks.engine import verify as verify
from ponas_deploy.checks.latency_table import recheck as recheck
from ponas_deploy.checks.machine import check_machine as check_machine
from ponas_deploy.engines.ahead import export_ahead as export_ahead
from ponas_deploy.engines.choice import shortlist as shortlist
from ponas_deploy.engines.choice import specialize as specialize
from ponas_deploy.engines.comparison import compare_networks as compare_networks
from ponas_deploy.engines.deployment import deploy as deploy
from ponas_deploy.engines.engine import Engine as Engine
from ponas_deploy.engines.export import export as export
from ponas_deploy.engines.loaded import load_engine as load_engine
from ponas_deploy.engines.measured_model import measure_model as measure_model
from ponas_deploy.engines.task import WeightsSource as WeightsSource
from ponas_deploy.errors import ArchitectureError as ArchitectureError
from ponas_deploy.errors import BackendError as BackendError
from ponas_deploy.errors import BudgetError as BudgetError
from ponas_deploy.errors import FileFormatError as FileFormatError
from ponas_deploy.errors import MeasurementError as MeasurementError
from ponas_deploy.errors import MissingExtraError as MissingExtraError
from ponas_deploy.errors import OverwriteError as OverwriteError
from ponas_deploy.errors import PonasError as PonasError
from ponas_deploy.errors import SpaceError as SpaceError
from ponas_deploy.errors import TableMismatchError as TableMismatchError
from ponas_deploy.errors import UnknownNameError as UnknownNameError
from ponas_deploy.errors import WeightsError as WeightsError
from ponas_deploy.files.findings import Finding as Finding
from ponas_deploy.fitting.networks import fit_table as fit_table
from ponas_deploy.fitting.networks import predict as predict
from ponas_deploy.profiling.devices import devices as devices
from ponas_deploy.profiling.tables import profile as profile
from ponas_deploy.profiling.target import Target as Target
from ponas_deploy.search.budget import Budget as Budget
from ponas_deploy.search.pareto import ParetoFront as ParetoFront
from ponas_deploy.search.pareto import pareto_front as pareto_front
from ponas_deploy.search.specialize import Specialization as Specialization
from ponas_deploy.tables.accuracy import AccuracyTable as AccuracyTable
from ponas_deploy.tables.importing import import_table as import_table
from ponas_deploy.tables.latency import Certificate as Certificate
from ponas_deploy.tables.latency import Conditions as Conditions
from ponas_deploy.tables.latency import LatencyTable as LatencyTable
from ponas_deploy.tables.measurement import Measurement as Measurement
from ponas_deploy.tables.named import accuracy_table as accuracy_table
from ponas_deploy.tables.named import latency_table as latency_table
from searchspace.architecture import Architecture as Architecture
from searchspace.space import Space as Space
from searchspace.spaces import build_space as space

__version__: str
__all__ = [
    "AccuracyTable",
    "Architecture",
    "ArchitectureError",
    "Backend",
    "BackendError",
    "Budget",
    "BudgetError",
    "Certificate",
    "Conditions",
    "Engine",
    "FakeBackend",
    "FileFormatError",
    "Finding",
    "LatencyTable",
    "Measurement",
    "MeasurementError",
    "MissingExtraError",
    "OverwriteError",
    "ParetoFront",
    "PonasError",
    "RunSettings",
    "Session",
    "Space",
    "SpaceError",
    "Specialization",
    "TableMismatchError",
    "Target",
    "UnknownNameError",
    "Verification",
    "WeightsError",
    "WeightsSource",
    "__version__",
    "accuracy_table",
    "check_machine",
    "compare_networks",
    "deploy",
    "devices",
    "export",
    "export_ahead",
    "fit_table",
    "import_table",
    "latency_table",
    "load_engine",
    "measure_model",
    "pareto_front",
    "predict",
    "profile",
    "recheck",
    "report",
    "shortlist",
    "space",
    "specialize",
    "verify",
]
