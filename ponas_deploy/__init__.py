"""Hardware-aware deployment of CNNs: measure a device, search by the measurements, verify the engine.

The public list: what stands here is what others may call, each name loaded when it is first asked for.
`__init__.pyi` says the same to editors and type checkers; a test holds the two together.
"""

from __future__ import annotations

__version__ = "0.1.0"

_ERRORS = (
    "ArchitectureError BackendError BudgetError FileFormatError MeasurementError MissingExtraError"
    " OverwriteError PonasError SpaceError TableMismatchError UnknownNameError WeightsError"
)
_PLACES = {
    "space": "searchspace.spaces:build_space",
    "profile": "ponas_deploy.profiling.tables:profile",
    "accuracy_table": "ponas_deploy.tables.named:accuracy_table",
    "latency_table": "ponas_deploy.tables.named:latency_table",
    "specialize": "ponas_deploy.engines.choice:specialize",
    "shortlist": "ponas_deploy.engines.choice:shortlist",
    "pareto_front": "ponas_deploy.search.pareto:pareto_front",
    "deploy": "ponas_deploy.engines.deployment:deploy",
    "export": "ponas_deploy.engines.export:export",
    "export_ahead": "ponas_deploy.engines.ahead:export_ahead",
    "verify": "ponas_deploy.checks.engine:verify",
    "recheck": "ponas_deploy.checks.latency_table:recheck",
    "fit_table": "ponas_deploy.fitting.networks:fit_table",
    "import_table": "ponas_deploy.tables.importing:import_table",
    "predict": "ponas_deploy.fitting.networks:predict",
    "check_machine": "ponas_deploy.checks.machine:check_machine",
    "devices": "ponas_deploy.profiling.devices:devices",
    "load_engine": "ponas_deploy.engines.loaded:load_engine",
    "measure_model": "ponas_deploy.engines.measured_model:measure_model",
    "compare_networks": "ponas_deploy.engines.comparison:compare_networks",
    "report": "ponas_deploy.charts.make:report",
    "Space": "searchspace.space:Space",
    "Architecture": "searchspace.architecture:Architecture",
    "Target": "ponas_deploy.profiling.target:Target",
    "Conditions": "ponas_deploy.tables.latency:Conditions",
    "LatencyTable": "ponas_deploy.tables.latency:LatencyTable",
    "AccuracyTable": "ponas_deploy.tables.accuracy:AccuracyTable",
    "Measurement": "ponas_deploy.tables.measurement:Measurement",
    "Certificate": "ponas_deploy.tables.latency:Certificate",
    "Budget": "ponas_deploy.search.budget:Budget",
    "Specialization": "ponas_deploy.search.specialize:Specialization",
    "ParetoFront": "ponas_deploy.search.pareto:ParetoFront",
    "Engine": "ponas_deploy.engines.engine:Engine",
    "Verification": "ponas_deploy.checks.engine:Verification",
    "WeightsSource": "ponas_deploy.engines.task:WeightsSource",
    "Finding": "ponas_deploy.files.findings:Finding",
    "Backend": "ponas_deploy.backends:Backend",
    "Session": "ponas_deploy.backends:Session",
    "RunSettings": "ponas_deploy.backends:RunSettings",
    "FakeBackend": "ponas_deploy.backends:FakeBackend",
    **{name: f"ponas_deploy.errors:{name}" for name in _ERRORS.split()},
}
__all__ = ["__version__", *_PLACES]


def __getattr__(name: str) -> object:
    if name not in _PLACES:
        raise AttributeError(f"module 'ponas_deploy' has no attribute '{name}'")
    from importlib import import_module

    module, _, attribute = _PLACES[name].partition(":")
    found = getattr(import_module(module), attribute)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted(__all__)
