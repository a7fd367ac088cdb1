"""What runtimes on a CPU have in common in INT8: where scales come from, and which integers they use here."""

from __future__ import annotations

import platform
from dataclasses import dataclass, field
from functools import cached_property

from ponas_deploy.backends.onnx_calibration import INT8_SCALES, Calibration
from ponas_deploy.backends.onnx_prepared import quantised
from ponas_deploy.backends.onnx_quantised import IntegerForm, form_for
from ponas_deploy.backends.protocol import QUANTISED
from ponas_deploy.backends.registry import fuses_hard_swish
from ponas_deploy.machines.machine import instruction_sets

INT8_FORM = "int8_form"
"""Under this name an environment says which integers INT8 uses."""


@dataclass(frozen=True)
class CpuScales:
    """Scales for a runtime called `backend`, from random images unless others are given."""

    backend: str
    calibration: Calibration = field(default_factory=Calibration)

    @cached_property
    def form(self) -> IntegerForm:
        """Which integers the runtime takes on this processor."""
        return form_for(_instruction_sets(), fuses_hard_swish=fuses_hard_swish(self.backend))

    def applied(self, model: bytes, precision: str) -> bytes:
        """The model as the runtime is given it; see `onnx_prepared.quantised`."""
        if precision not in QUANTISED:
            return model
        return quantised(self.backend, model, self.calibration, self.form, precision)

    def environment(self) -> tuple[tuple[str, str], ...]:
        """What is recorded of INT8."""
        return (INT8_SCALES, self.calibration.text), (INT8_FORM, self.form.text)


def _instruction_sets() -> tuple[str, ...]:
    """Those of this processor; of an ARM core that says none, the one that all of them have."""
    arm = platform.machine().lower() in ("arm64", "aarch64")
    return instruction_sets() or (("asimd",) if arm else ())
