"""One profile of a carried plan, on the board: blocks, networks in waves, rounds; by the steps of a job."""

from __future__ import annotations

import time
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Mapping, Sequence

from ponas_deploy.backends import RunSettings, Session, get_backend, registry
from ponas_deploy.errors import BackendError, PonasError
from ponas_deploy.machines.conditions import clock_settings, read_conditions
from ponas_deploy.machines.gpu import required_gpu
from ponas_deploy.machines.machine import memory_mib
from ponas_deploy.measuring.affordable import NetworkTrial, affordable, in_waves, round_s, smaller_after
from ponas_deploy.measuring.disturbed import Extension, take_disturbed_again
from ponas_deploy.measuring.interference import Interference, Snapshot
from ponas_deploy.measuring.launches import launch_summary, not_captured
from ponas_deploy.measuring.protocol import Outcome, measure, take_round_again
from ponas_deploy.measuring.protocol import Plan as Protocol
from ponas_deploy.measuring.retries import RETRIES
from ponas_deploy.remote.carried_files import Journal, Plan, journal_name
from ponas_deploy.remote.state import State
from ponas_deploy.remote.steps import STEPS, probe_of, snapshot_of
from ponas_deploy.tables.rounds import usual_core_ns

ROUNDS_A_WAVE = 10_000
_SAID_EVERY_S = 2.0


class Said:
    """Lines for whoever watches, each with the seconds since the start; those of progress not too often."""

    def __init__(self) -> None:
        self._begun_s, self._last_s = time.monotonic(), float("-inf")

    def __call__(self, text: str) -> None:
        """Say it in any case."""
        now_s = time.monotonic()
        self._last_s = now_s
        print(f"[{now_s - self._begun_s:5.0f} s] {text}", flush=True)

    def now_and_then(self, text: str) -> None:
        """Say it where nothing was said for a while."""
        if time.monotonic() - self._last_s >= _SAID_EVERY_S:
            self(text)


def carry_out(plan: Plan, number: int, folder: Path, said: Said) -> dict[str, Any]:
    """Carry out the profile of this number: what a table's protocol says of it beside its journal.

    BackendError where the runtime is missing or refuses a block, PonasError for what the board has not.
    """
    begun_s = time.monotonic()
    asked = plan.document["profiles"][number]
    state = State(folder, folder)
    all_threads = RunSettings(threads=asked["threads"], streams=asked["streams"]).all_threads
    with state.stack as stack:
        about = STEPS["about"](state, {"backends": [asked["backend"]], "threads": all_threads}, _nothing)
        (runtime,) = about["runtimes"]
        if runtime.get("problem"):
            raise BackendError(asked["backend"], runtime["problem"])
        conditions = _conditions(plan.document, asked, about, runtime)
        header = dict(
            asked["header"],
            bundle=plan.sha,
            conditions=conditions,
            environment=dict([*about["machine"], *runtime["environment"]]),
            clocks=clock_settings(dict(about["conditions"])),
        )
        journal = Journal(folder / journal_name(number), header)
        stack.callback(journal.close)
        if journal.resumed:
            said(f"going on with {sum(map(len, journal.samples.rounds.values()))} samples of before")
        settings = {name: conditions[name] for name in ("precision", "threads", "streams")}
        details = {
            "backend": asked["backend"],
            "settings": settings,
            "known_ns": usual_core_ns(journal.rounds),
        }
        deadline = begun_s + plan.document["seconds"]
        one = _OnBoard(
            plan.document, asked["models"], Protocol(**asked["plan"]), state, details, journal, said, deadline
        )
        return dict(one.made(), device=conditions["device"], at_start=dict(about["conditions"]))


def _conditions(
    plan: Mapping[str, Any], asked: Mapping[str, Any], about: Mapping[str, Any], runtime: Mapping[str, Any]
) -> dict[str, Any]:
    """What the latencies are latencies of."""
    if about["threads_fault"]:
        raise PonasError(about["threads_fault"])
    precision = asked["precision"] or runtime["precisions"][0]
    if precision not in runtime["precisions"]:
        has = ", ".join(runtime["precisions"])
        raise PonasError(f"{asked['backend']} has no precision {precision} here; it has {has}.")
    return {
        "device": plan["name"] or (required_gpu() if runtime["on_gpu"] else about["name"]),
        "backend": asked["backend"],
        "precision": precision,
        "threads": asked["threads"],
        "batch": plan["batch"],
        "streams": asked["streams"],
    }


def _nothing(line: dict[str, Any]) -> None:
    """Take no note of what a step writes."""


@dataclass
class _OnBoard:
    """A profile under way. `models` are the hashes of parcels by key.

    `runs`, `rough_ns` and `visit_s` are what first runs showed, as of `Bench`.
    """

    plan: Mapping[str, Any]
    models: Mapping[str, str]
    protocol: Protocol
    state: State
    details: dict[str, Any]
    journal: Journal
    said: Said
    deadline: float
    runs: dict[str, int] = field(default_factory=dict)
    rough_ns: dict[str, float] = field(default_factory=dict)
    built_s: dict[str, float] = field(default_factory=dict)
    visit_s: float = 0.0

    @property
    def left_s(self) -> float:
        """Seconds that are left of the time."""
        return max(0.0, self.deadline - time.monotonic())

    def made(self) -> dict[str, Any]:
        """Build and time everything."""
        journal, plan = self.journal, self.plan
        interference = Interference(
            self.protocol, lambda: snapshot_of(self.state, self.details), journal.rounds
        )
        interference.on_round, journal.samples.on_sample = journal.round, journal.sample
        blocks = self._opened(plan["blocks"])
        trial = self._trial()
        networks = journal.networks or self._chosen(trial)
        if not journal.networks:
            journal.append({"fit": networks["fit"], "check": networks["check"]})
        size = trial.wave_size(memory_mib("available"), self._free_gpu_bytes())
        waves = in_waves([*networks["fit"], *networks["check"]], size)
        outcomes: list[Outcome] = []
        while len(outcomes) < len(waves):
            try:
                outcomes.append(self._wave(len(outcomes), waves, blocks, interference))
            except BackendError as error:
                waves = smaller_after(error, waves, len(outcomes))
                self.said(f"no memory for so many networks: now {len(waves[len(outcomes)])} at once")
        launches = launch_summary(blocks, self.rough_ns)
        return {
            "rounds": [one.rounds for one in outcomes],
            "stopped_by": outcomes[-1].reason,
            "redone_visits": sum(one.redone_visits for one in outcomes),
            "extended_s": round(sum(one.extended_s for one in outcomes), 1),
            "built_s": round(sum(self.built_s.values()), 1),
            "launches": launches and asdict(launches),
            "not_captured": not_captured(get_backend(self.details["backend"])),
            "at_end": dict(read_conditions().conditions()),
        }

    def _trial(self) -> NetworkTrial:
        text, model_bytes = self.plan["trial"]
        before = self._free_gpu_bytes()
        self._opened([text])
        after = self._free_gpu_bytes()
        self._close([text])
        gpu_bytes = 0 if before is None or after is None else max(0, before - after)
        run_s, working_bytes = self.rough_ns.pop(text) / 1e9, self.plan.get("working_bytes", 0)
        streams = self.details["settings"]["streams"]
        return NetworkTrial(
            model_bytes, self.built_s[text], run_s, self.visit_s, working_bytes, gpu_bytes, streams
        )

    def _free_gpu_bytes(self) -> int | None:
        """What is free of a GPU's memory; None where the runtime takes none."""
        found: list[int] = STEPS["gpu_memory"](self.state, self.details, _nothing)
        return found[0] if found else None

    def _chosen(self, trial: NetworkTrial) -> Mapping[str, Any]:
        """The most networks of the plan that there is time for, or the fewest that certify a table."""
        blocks_s = round_s(self.rough_ns.values(), self.protocol, self.visit_s)
        count = affordable(self.left_s, blocks_s, trial)
        levels: list[Mapping[str, Any]] = self.plan["levels"]
        fitting = [one for one in levels if len(one["fit"]) + len(one["check"]) <= count]
        chosen = fitting[-1] if fitting else levels[0]
        networks = len(chosen["fit"]) + len(chosen["check"])
        rounds_s = blocks_s + networks * max(self.visit_s, trial.run_s)
        least_s = networks * trial.build_s + self.protocol.floor_rounds * rounds_s
        slow = ": no certified table takes less here" if least_s > self.left_s + 1 else ""
        about = f"about {max(least_s, self.left_s):.0f} s left"
        self.said(f"{networks} networks among {len(self.plan['blocks'])} blocks, {about}{slow}")
        return chosen

    def _wave(
        self,
        number: int,
        waves: tuple[tuple[str, ...], ...],
        blocks: Mapping[str, Session],
        interference: Interference,
    ) -> Outcome:
        """Build a group of networks and measure it among all blocks, in its share of the time left."""
        first_round, samples = number * ROUNDS_A_WAVE, self.journal.samples
        with ExitStack() as stack:
            stack.callback(self._close, waves[number])
            sessions = {**blocks, **self._opened(waves[number])}
            left_s = self.left_s / (len(waves) - number)
            deadline = time.monotonic() + left_s
            probe, seed = probe_of(self.state, self.details), self.plan["seed"]
            runs = {**self.runs, **samples.runs}

            def after_round(rounds: int, took_s: float) -> None:
                most_s = (self.protocol.max_rounds - rounds) * took_s
                wave = f" of wave {number + 1} of {len(waves)}" if len(waves) > 1 else ""
                self.said.now_and_then(f"round {rounds}{wave}, {min(self.left_s, most_s):.0f} s left")

            outcome = measure(
                sessions,
                runs,
                samples,
                self.protocol,
                seed=seed,
                deadline=deadline,
                first_round=first_round,
                on_round=after_round,
                interference=interference,
                probe=probe,
            )

            def again(of: int) -> tuple[Snapshot, Snapshot] | None:
                return take_round_again(sessions, runs, samples, self.protocol, of, seed=seed, probe=probe)

            spare_s = max(0.0, deadline - time.monotonic())
            extra_s = RETRIES.extra_time_share * self.plan["seconds"] / len(waves)
            took_s = take_disturbed_again(
                interference,
                range(first_round, first_round + outcome.rounds),
                again,
                Extension(
                    spare_s + extra_s if registry.is_real(self.details["backend"]) else 0.0,
                    lambda found, left: self.said(
                        f"{found.text}: going on for at most {left:.0f} s, to take them again in the gaps"
                    ),
                ),
                round_s=outcome.round_s,
                clock=time.monotonic,
            )
            beyond_s = max(0.0, took_s - spare_s)
            self.deadline += beyond_s
            return Outcome(
                outcome.rounds, outcome.reason, outcome.redone_visits, outcome.unsettled, 0.0, beyond_s
            )

    def _opened(self, keys: Sequence[str]) -> dict[str, Session]:
        """Build models by their keys and hashes, and run each a few times."""

        def write(line: dict[str, Any]) -> None:
            if "built" in line:
                self.built_s[line["built"]] = line["s"]
                done = f"{len(self.built_s)} models built"
                self.said.now_and_then(f"{done}, {self.left_s:.0f} s left")
            elif "first" in line:
                self.runs[line["first"]], self.rough_ns[line["first"]] = line["runs"], line["ns"]
                self.visit_s = max(self.visit_s, line["visit_s"])

        models = [(key, self.models[key]) for key in keys]
        asked = dict(self.details, models=models, plan=asdict(self.protocol), one_at_a_time=False)
        STEPS["open"](self.state, asked, write)
        sessions: dict[str, Session] = self.state.values["sessions"]
        return {key: sessions[key] for key in keys}

    def _close(self, keys: Sequence[str]) -> None:
        STEPS["close"](self.state, {"keys": list(keys)}, _nothing)
