"""How far TensorRT is with a build, from its nested phases, and how a build is ended from outside.

TensorRT calls a monitor from threads of its own. An exception cannot cross its C++: what is raised in a call
is kept, the next step cancels the build, and `_tensorrt_build` raises it afterwards.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ponas_deploy.backends.progress import BuildProgress, OnBuildProgress

if TYPE_CHECKING:
    import tensorrt as trt


class Phases:
    """The phases that run now; each has steps, and may be the step under way of another one."""

    def __init__(self, on_progress: OnBuildProgress | None) -> None:
        self._on_progress = on_progress
        self._running: dict[str, tuple[str | None, int, int]] = {}
        self._told: dict[str, tuple[int, int]] = {}

    def begin(self, name: str, parent: str | None, steps: int) -> None:
        """A phase begins; one without a parent is told."""
        self._running[name] = (parent or None, steps, 0)
        if not parent:
            self._told.pop(name, None)
            self._tell(name)

    def step(self, name: str, done: int) -> None:
        """So many steps of a phase are done; told where the outermost phase above it is further by 1 %."""
        if name not in self._running:
            return
        parent, steps, _ = self._running[name]
        self._running[name] = (parent, steps, done)
        outermost = self._outermost(name)
        now = (self._running[outermost][2], self._next_pct(outermost))
        if outermost == name or now > self._told.get(outermost, (0, 0)):
            self._tell(outermost)

    def end(self, name: str) -> None:
        """A phase is over; one without a parent is told."""
        if name not in self._running:
            return
        parent, steps, _ = self._running[name]
        self._running = {one: found for one, found in self._running.items() if one != name}
        if parent is None:
            self._pass_on(BuildProgress(name, steps, steps))

    def _tell(self, name: str) -> None:
        _, steps, done = self._running[name]
        self._told[name] = (done, self._next_pct(name))
        self._pass_on(BuildProgress(name, done, steps, self._told[name][1]))

    def _pass_on(self, progress: BuildProgress) -> None:
        if self._on_progress is not None:
            self._on_progress(progress)

    def _outermost(self, name: str) -> str:
        seen = {name}
        while (parent := self._running[name][0]) in self._running and parent not in seen:
            assert parent is not None
            seen.add(parent)
            name = parent
        return name

    def _next_pct(self, name: str) -> int:
        return int(100 * self._inside(name, frozenset()))

    def _inside(self, name: str, above: frozenset[str]) -> float:
        """How much of the step under way of a phase is done, 0 to 1, by the phases in it."""
        inner = [
            (one, steps, done)
            for one, (parent, steps, done) in list(self._running.items())
            if parent == name and one not in above and steps > 0
        ]
        shares = [min(1.0, (done + self._inside(one, above | {name})) / steps) for one, steps, done in inner]
        return min(shares, default=0.0)


def make_monitor(trt_module: Any, on_progress: OnBuildProgress | None) -> trt.IProgressMonitor:
    """A monitor that passes on how far the outermost phases are.

    Its `_raised` is what was raised in one of its calls, Ctrl-C among it; then the build is cancelled.
    """
    trt = trt_module

    class Monitor(trt.IProgressMonitor):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)
            self._phases = Phases(on_progress)
            self._raised: BaseException | None = None

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            try:
                if self._raised is None:
                    self._phases.begin(phase_name, parent_phase, num_steps)
            except BaseException as error:
                self._raised = error

        def step_complete(self, phase_name: str, step: int) -> bool:
            try:
                if self._raised is None:
                    self._phases.step(phase_name, step + 1)
            except BaseException as error:
                self._raised = error
            return self._raised is None

        def phase_finish(self, phase_name: str) -> None:
            try:
                if self._raised is None:
                    self._phases.end(phase_name)
            except BaseException as error:
                self._raised = error

    return Monitor()
