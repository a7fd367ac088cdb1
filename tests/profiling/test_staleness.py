"""A table that was made with something else is named with what differs, and made again."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from ponas_deploy.backends import get_backend
from ponas_deploy.errors import MeasurementError, PonasError, TableMismatchError
from ponas_deploy.files.home import home
from ponas_deploy.machines import machine as devices
from ponas_deploy.machines.conditions import Reading
from ponas_deploy.machines.machine import this_machine
from ponas_deploy.measuring import place
from ponas_deploy.profiling import making, serving_tables, staleness, tables, tables_for
from ponas_deploy.profiling.differences import Difference, differing, in_words, made_with
from ponas_deploy.profiling.staleness import differences
from ponas_deploy.profiling.target import Target, device_of
from ponas_deploy.tables import store
from ponas_deploy.tables.grid import SpaceKey
from ponas_deploy.tables.latency import Conditions
from ponas_deploy.tables.measured_how import MeasurementProtocol
from ponas_deploy.tables.quality import quality_findings
from ponas_deploy.tables.rounds import InterferenceSummary
from ponas_deploy.tables.store import StoredTable
from searchspace.space import Space
from stored_tables import stored


def test_only_what_both_records_say_is_compared() -> None:
    here = {"processor": "A", "runtime": "onnxruntime 1.31", "governor": "performance", "cores": "2"}
    assert differing({"processor": "A", "runtime": "onnxruntime 1.31"}, here) == ()
    assert differing({**here, "power_mode": "nvpmodel 0 (MAXN)", "os": "other"}, here) == ()
    assert differing({**here, "governor": "powersave", "cores": "4"}, here) == (
        Difference("cores", "4", "2"),
        Difference("governor", "powersave", "performance"),
    )


def test_a_table_that_says_nothing_of_its_making_is_stale() -> None:
    found = differing({}, {"processor": "A", "runtime": "B"})
    assert [difference.text for difference in found] == [
        "with processor unknown, here is processor A",
        "with unknown, here is B",
    ]


@pytest.mark.parametrize(
    ("made", "text"),
    [
        ({"runtime": "onnxruntime 1.30"}, "with onnxruntime 1.30, here is onnxruntime 1.31"),
        ({"gpu_driver": "550.1"}, "with GPU driver 550.1, here is GPU driver 560.2"),
        (
            {"power_mode": "nvpmodel 2 (15W)"},
            "with power mode nvpmodel 2 (15W), here is power mode nvpmodel 0 (`sudo nvpmodel -m 2` there goes"
            " back)",
        ),
        ({"processor_model": "family 25 model 17"}, "with family 25 model 17, here is family 25 model 1"),
        (
            {"instruction_sets": "avx2 avx512f"},
            "with instruction sets avx2 avx512f, here is instruction sets avx2",
        ),
        ({"quota_cores": "1.5"}, "with a quota of cores of 1.5, here is a quota of cores of 2.0"),
    ],
)
def test_what_differs_is_a_sentence(made: dict[str, str], text: str) -> None:
    here = {
        "processor": "A",
        "processor_model": "family 25 model 1",
        "instruction_sets": "avx2",
        "runtime": "onnxruntime 1.31",
        "gpu_driver": "560.2",
        "power_mode": "nvpmodel 0",
        "quota_cores": "2.0",
    }
    (found,) = differing({**here, **made}, here)
    assert found.text == text


def test_the_governor_stands_in_the_protocol(tiny: Space, monkeypatch: pytest.MonkeyPatch) -> None:
    made = stored(
        tiny, this_machine().name, protocol=MeasurementProtocol(at_start={"governor": "performance"})
    )
    assert made_with(made.table)["governor"] == "performance"
    assert serving_tables.serving(Target("cpu"), tiny) == (made,)  # not readable here: not compared
    monkeypatch.setattr(place, "read_conditions", lambda: Reading(governor="powersave"))
    assert serving_tables.serving(Target("cpu"), tiny) == ()
    ((found, differ),) = serving_tables.outdated(Target("cpu"), tiny)
    assert in_words(found, differ) == (
        f"table {made.name} was made with governor performance, here is governor powersave"
    )


@pytest.mark.parametrize(("precision", "counts"), [("fp32", False), ("int8", True)])
def test_how_int8_is_taken_counts_for_tables_in_it(tiny: Space, precision: str, counts: bool) -> None:
    known = {**dict(this_machine().environment()), **dict(get_backend("openvino").environment())}
    before = {**known, "int8_form": "int8 activations, as they were"}
    conditions = Conditions(this_machine().name, "openvino", precision, 1, 1)
    made = stored(
        tiny, this_machine().name, "openvino", conditions=conditions, environment=tuple(before.items())
    )
    found = [one.text for one in differences(made)]
    assert (
        found
        == [f"with INT8 as int8 activations, as they were, here is INT8 as {known['int8_form']}"] * counts
    )


def test_a_power_mode_that_changed_makes_a_table_stale(tiny: Space, monkeypatch: pytest.MonkeyPatch) -> None:
    there = replace(this_machine(), power_mode="nvpmodel 0 (MAXN)")
    made = stored(tiny, there.name)
    environment = (*made.table.environment, ("power_mode", "nvpmodel 2 (15W)"))
    made = stored(tiny, there.name, environment=environment)
    assert serving_tables.serving(Target("cpu"), tiny) == (made,)
    monkeypatch.setattr(place, "this_machine", lambda: there)
    ((_, (differ,)),) = serving_tables.outdated(Target("cpu"), tiny)
    assert differ == Difference("power_mode", "nvpmodel 2 (15W)", "nvpmodel 0 (MAXN)")
    assert devices.this_machine() is not there


def test_tables_of_two_power_modes_serve_in_turn(tiny: Space, monkeypatch: pytest.MonkeyPatch) -> None:
    modes, profiled, notes = ("nvpmodel 0 (MAXN)", "nvpmodel 2 (15W)"), list[str](), list[str]()

    def profile(conditions: Conditions, space: Space, *given: object, **more: object) -> StoredTable:
        path = making.path_at(place.HERE, conditions, SpaceKey.of(space))
        environment = (*place.HERE.environment(), *get_backend(conditions.backend).environment())
        made = stored(space, conditions.device, environment=environment)
        made.path.rename(path)
        profiled.append(made.table.power_mode)
        return StoredTable(path, made.table)

    monkeypatch.setattr(tables_for, "profile_stored", profile)
    target = Target("cpu", "onnxruntime", "fp32")
    for mode in (*modes, *modes):
        monkeypatch.setattr(place, "this_machine", lambda mode=mode: replace(this_machine(), power_mode=mode))
        (found,) = tables_for.tables_for(target, tiny, 10.0, on_note=notes.append)
        assert found.table.power_mode == mode
        assert not tables.is_outdated(found.path, place.HERE)
    assert profiled == [*modes]
    assert [note.endswith("profiled again") for note in notes] == [True], "the first one, for the second mode"


def of_older_runtime(space: Space) -> StoredTable:
    made = stored(space, this_machine().name)
    environment = {**dict(made.table.environment), "runtime": "onnxruntime 0.1"}
    return stored(space, this_machine().name, environment=tuple(environment.items()))


def test_a_stale_table_is_named_and_made_again(tiny: Space, monkeypatch: pytest.MonkeyPatch) -> None:
    old, profiled, notes = of_older_runtime(tiny), list[Conditions](), list[str]()

    def profile(conditions: Conditions, *given: object, **more: object) -> StoredTable:
        profiled.append(conditions)
        return old

    monkeypatch.setattr(tables_for, "profile_stored", profile)
    target = Target("cpu", ("onnxruntime",))
    tables_for.tables_for(target, tiny, 10.0, on_note=notes.append)
    assert profiled == [old.conditions]
    here = dict(get_backend("onnxruntime").environment())["runtime"]
    assert notes == [f"table {old.name} was made with onnxruntime 0.1, here is {here}: profiled again"]
    stored(tiny, this_machine().name)
    tables_for.tables_for(target, tiny, 10.0, on_note=notes.append)
    assert (len(profiled), len(notes)) == (1, 1)


def test_resolutions_that_lack_a_table_share_the_time(tiny: Space, monkeypatch: pytest.MonkeyPatch) -> None:
    there, shares = stored(tiny, this_machine().name), list[tuple[int, float]]()

    def profile(conditions: Conditions, space: Space, share_s: float, **more: object) -> StoredTable:
        shares.append((space.resolution, share_s))
        return there

    monkeypatch.setattr(tables_for, "profile_stored", profile)
    target = Target("cpu", ("onnxruntime",), ("fp32",))
    found = tables_for.tables_over(target, [replace(tiny, resolution=px) for px in (24, 32, 40)], 10.0)
    assert [(px, round(share)) for px, share in shares] == [(24, 5), (40, 5)]
    assert found == (there,) * 3


def test_a_stale_table_that_is_named_is_used_with_a_caveat(
    tiny: Space, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, target = of_older_runtime(tiny), Target("cpu")
    assert serving_tables.given(target, (tiny,), (old,)) == (old,)
    (sentence,) = serving_tables.caveats(target, old)
    assert "was made with onnxruntime 0.1, here is onnxruntime" in sentence
    assert sentence.endswith(f"its predictions may be off (ponas table recheck {old.name}).")
    fresh = stored(tiny, this_machine().name)
    assert serving_tables.caveats(target, fresh) == ()
    monkeypatch.setattr(store, "SHIPPED", home())
    assert "came with the package" in serving_tables.caveats(target, fresh)[0]
    assert serving_tables.caveats(Target("jetson"), old) == ()


def test_what_can_be_rechecked_here(tiny: Space, tmp_path: Path) -> None:
    old = of_older_runtime(tiny)
    assert serving_tables.own_tables(Target("cpu"), tiny) == (old,)
    assert device_of(old) == Target("cpu")
    assert [difference.what for difference in differences(old)] == ["runtime"]
    with pytest.raises(PonasError, match=r"no table of yours is of this machine .* and fits"):
        serving_tables.own_tables(Target("cpu", threads=2), tiny)
    with pytest.raises(TableMismatchError, match=r"is of jetson, this machine is .*: recheck it there"):
        device_of(stored(tiny, "jetson"))


def test_a_stale_table_of_this_machines_gpu_makes_no_promise(
    tiny: Space, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = stored(tiny, "nvidia-h200")
    environment = {**dict(made.table.environment), "runtime": "onnxruntime 0.1"}
    made = stored(tiny, "nvidia-h200", environment=tuple(environment.items()))
    assert staleness.refuse_stale([made]) == ()  # of another machine: nothing to compare with
    monkeypatch.setattr(staleness, "this_gpu", lambda: "nvidia-h200")
    with pytest.raises(MeasurementError, match=r"with onnxruntime 0\.1, here is .* No engine is promised"):
        staleness.refuse_stale([made])


def made_while_busy(space: Space) -> StoredTable:
    rounds = InterferenceSummary(kept_rounds=5, wrong_rounds=4, wrong_because="other processes used 60 %")
    return stored(space, this_machine().name, protocol=MeasurementProtocol(interference=rounds))


def test_a_table_of_a_busy_machine_is_made_again_where_it_is_quiet(
    tiny: Space, monkeypatch: pytest.MonkeyPatch
) -> None:
    busy, profiled, notes, now = made_while_busy(tiny), list[Conditions](), list[str](), [""]

    def profile(conditions: Conditions, *given: object, **more: object) -> StoredTable:
        profiled.append(conditions)
        return replace(busy, path=Path("made-again.json"))

    monkeypatch.setattr(tables_for, "profile_stored", profile)
    monkeypatch.setattr(tables_for, "disturbed_now", lambda: now[0])
    target = Target("cpu", ("onnxruntime",))
    (found,) = tables_for.tables_for(target, tiny, 10.0, on_note=notes.append)
    said = f"{busy.name} was made while the machine was busy: 4 of 5 rounds were disturbed (other processes"
    assert notes[0].startswith(said)
    assert notes[0].endswith("The machine is quiet now: it is made again.")
    assert (profiled, found.path.name) == ([busy.conditions], "made-again.json")

    notes.clear()
    now[0] = "other processes used 99 % of the cores"
    assert tables_for.tables_for(target, tiny, 10.0, on_note=notes.append) == (busy,)
    assert len(profiled) == 1, "no use now"
    assert "busy now too (other processes used 99 % of the cores)" in notes[0]
    made_by = "ponas profile --backend onnxruntime --precision fp32 --space tiny --resolution 32 --classes 10"
    assert f"`{made_by} --force`" in notes[0]


def test_what_was_disturbed_is_the_first_thing_that_is_said_of_a_table(tiny: Space) -> None:
    first, *_ = quality_findings(made_while_busy(tiny).table)
    assert first.text.startswith("4 of 5 rounds were disturbed")
