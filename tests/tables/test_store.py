"""Where tables are found, and which of them serve a wish."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from conftest import tiny_space
from ponas_deploy.backends import get_backend
from ponas_deploy.errors import (
    FileFormatError,
    OverwriteError,
    PonasError,
    TableMismatchError,
    UnknownNameError,
)
from ponas_deploy.files.home import home
from ponas_deploy.machines.machine import this_machine
from ponas_deploy.profiling import making, serving_tables
from ponas_deploy.profiling.devices import known_devices
from ponas_deploy.profiling.target import Target
from ponas_deploy.tables import store
from ponas_deploy.tables.grid import SpaceKey
from ponas_deploy.tables.latency import Conditions
from ponas_deploy.tables.latency_file import write_latency_table
from ponas_deploy.tables.named import as_stored
from ponas_deploy.tables.store import StoredTable
from searchspace.space import Space
from stored_tables import stored


def test_a_table_is_found_by_path_and_by_name(tiny: Space) -> None:
    made = stored(tiny, "Jetson Orin Nano")
    assert made.path == home() / "latency" / "jetson-orin-nano" / "onnxruntime-fp32-t1-b1-tiny-32px-10c.json"
    for name in (str(made.path), made.name, f"latency/{made.name}"):
        assert store.latency_table(name) == made
    with pytest.raises(UnknownNameError, match="jetson-orin-nano/onnxruntime-fp32-t1-b1-tiny-32px-10c"):
        store.find_table("jetson")


def test_a_folder_that_is_called_as_a_table_does_not_hide_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("ponas", "other"):
        Path(name).mkdir()
    assert store.find_table("ponas") == store.SHIPPED / "accuracy" / "ponas.json"
    with pytest.raises(FileFormatError, match="other: cannot be read: it is a folder"):
        store.find_table("other")


def test_the_users_own_tables_hide_shipped_ones(
    tiny: Space, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = stored(tiny, "board")
    monkeypatch.setattr(store, "SHIPPED", home())
    monkeypatch.setenv("PONAS_HOME", str(tmp_path / "second"))
    (shipped,) = known_devices()["board"]
    assert (shipped.path, shipped.shipped) == (own.path, True)
    mine = stored(tiny, "board", created="2026-02-02")
    (found,) = known_devices()["board"]
    assert (found.table, found.shipped) == (mine.table, False)


def test_this_machine_is_served_by_its_own_fresh_tables(tiny: Space) -> None:
    target = Target("cpu")
    assert target.local
    assert serving_tables.serving(target, tiny) == ()
    runtimes = [conditions.backend for conditions in making.missing(target, ())]
    assert runtimes == ["onnxruntime", "openvino"]
    native = [(runtime, precision) for runtime in runtimes for precision in get_backend(runtime).precisions()]
    every = making.missing(target, (), every_precision=True)
    native = [one for one in native if one[1] != "mixed"]  # that is another space
    # What int8 loses no table says: it is left out unless somebody asks for it.
    exact = [one for one in native if one[1] != "int8"]
    assert [(conditions.backend, conditions.precision) for conditions in every] == exact
    all_of_it = making.missing(replace(target, int8=True), (), every_precision=True)
    assert [(conditions.backend, conditions.precision) for conditions in all_of_it] == native
    made = stored(tiny, this_machine().name)
    assert serving_tables.serving(target, tiny) == (made,)
    assert [conditions.backend for conditions in making.missing(target, (made,))] == ["openvino"]


@pytest.mark.parametrize(
    "changes", [{"processor": "another one"}, {"runtime": "onnxruntime 0.1"}], ids=["processor", "runtime"]
)
def test_a_table_of_another_processor_or_runtime_does_not_serve(tiny: Space, changes: dict[str, str]) -> None:
    environment = {**dict(stored(tiny, this_machine().name).table.environment), **changes}
    stored(tiny, this_machine().name, environment=tuple(environment.items()))
    assert serving_tables.serving(Target("cpu"), tiny) == ()


@pytest.mark.parametrize(
    ("other", "space"),
    [
        (Target("cpu", threads=2), tiny_space()),
        (Target("cpu", batch=8), tiny_space()),
        (Target("cpu", backends=("openvino",)), tiny_space()),
        (Target("cpu", precisions=("bf16",)), tiny_space()),
        (Target("cpu"), tiny_space(resolution=64)),
        (Target("cpu"), tiny_space(classes=7)),
    ],
)
def test_tables_of_other_conditions_do_not_serve(tiny: Space, other: Target, space: Space) -> None:
    stored(tiny, this_machine().name)
    assert serving_tables.serving(other, space) == ()


def test_a_target_takes_lists_and_refuses_nothing_to_run() -> None:
    assert Target("cpu", backends=["onnxruntime"]) == Target("cpu", "onnxruntime")
    assert Target("cpu", precisions=["fp32", "bf16"]).precisions == ("fp32", "bf16")
    with pytest.raises(PonasError, match=r"batch is 0: ask for 1 or more\."):
        Target("cpu", batch=0)


def test_another_device_is_served_as_it_was_measured_there(tiny: Space) -> None:
    foreign = stored(tiny, "jetson", environment=(("processor", "a Jetson"), ("runtime", "older")))
    assert serving_tables.serving(Target("jetson"), tiny) == (foreign,)
    assert making.missing(Target("jetson"), ()) == ()
    with pytest.raises(PonasError, match=r"no table of jetson serves: .* is of threads 1, not 4"):
        serving_tables.serving(Target("jetson", threads=4), tiny)
    with pytest.raises(UnknownNameError, match="unknown device 'raspberry': known are"):
        serving_tables.serving(Target("raspberry"), tiny)


def test_a_table_may_lie_under_any_name_and_a_broken_one_stops_nobody(tiny: Space) -> None:
    made = stored(tiny, "Pi 5 (lab)")
    moved = home() / "latency" / "from-a-stick" / "mine.json"
    moved.parent.mkdir()
    made.path.rename(moved)
    moved.with_name("broken.json").write_text("{")
    (found,) = serving_tables.serving(Target("Pi 5 (lab)"), tiny)
    assert (found.path, found.device) == (moved, "pi-5-lab")
    (problem,) = store.latency_tables()[1]
    assert "broken.json" in str(problem)


def test_a_named_table_of_something_else_is_refused(tiny: Space) -> None:
    made = stored(tiny, "jetson")
    assert serving_tables.given(Target("jetson"), (tiny,), (made,)) == (made,)
    for target, space, words in (
        (Target("cpu"), tiny, "is of device jetson"),
        (Target("jetson"), tiny_space(resolution=64), "is of resolution 32, not 64"),
        (Target("jetson", batch=4), tiny, "is of batch 1, not 4"),
        (Target("jetson", precisions=("bf16",)), tiny, "is of precision fp32, not bf16"),
    ):
        with pytest.raises(TableMismatchError, match=words):
            serving_tables.given(target, (space,), (made,))


def test_unknown_runtimes_and_precisions_are_listed(tiny: Space) -> None:
    with pytest.raises(UnknownNameError, match=r"onnxruntime, .*openvino, "):
        making.missing(Target("cpu", backends=("tvm",)), ())
    with pytest.raises(UnknownNameError, match="fp32"):
        making.missing(Target("cpu", backends=("onnxruntime",), precisions=("int4",)), ())
    with pytest.raises(UnknownNameError, match="int4"):
        making.missing(Target("cpu", precisions=("int4",)), ())


def test_a_measurement_is_not_overwritten(tiny: Space) -> None:
    made = stored(tiny, this_machine().name)
    with pytest.raises(OverwriteError):
        making.make_table(made.conditions, tiny, time_budget_s=5)


def test_a_table_that_names_no_device_cannot_make_an_engine(tiny: Space) -> None:
    made = stored(tiny, "board")
    with pytest.raises(TableMismatchError, match="names no device"):
        _ = StoredTable(made.path, replace(made.table, conditions=None)).conditions


# --- power modes of one device


def in_mode(space: Space, mode: str, created: str = "2026-01-01") -> StoredTable:
    """A table of a board in a power mode, where such a table is stored."""
    made = stored(space, "jetson", created=created)
    made.path.unlink()
    table = replace(made.table, environment=(*made.table.environment, ("power_mode", mode)))
    path = store.latency_path(made.conditions, SpaceKey.of(space), mode)
    write_latency_table(table, path)
    return StoredTable(path, table)


def test_tables_of_two_power_modes_lie_side_by_side_and_the_newest_serves(tiny: Space) -> None:
    slow = in_mode(tiny, "nvpmodel 2 (15W)", "2026-02-02")
    fast = in_mode(tiny, "nvpmodel 0 (MAXN)")
    assert slow.path.stem == "onnxruntime-fp32-t1-b1-tiny-32px-10c-nvpmodel-2-15w"
    assert known_devices()["jetson"] == (fast, slow)
    assert store.latency_table(fast.name) == fast
    notes = list[str]()
    assert serving_tables.serving(Target("jetson"), tiny, on_note=notes.append) == (slow,)
    assert notes == [f"{fast.name} is left out: {slow.name}, of power mode nvpmodel 2 (15W), was made later"]
    assert as_stored(slow.table).path == slow.path


def test_a_table_at_the_path_of_older_versions_stays_there(tiny: Space) -> None:
    of = Conditions("jetson", "onnxruntime", "fp32", 1, 1), SpaceKey.of(tiny)
    plain, mode = store.latency_path(*of), "nvpmodel 0 (MAXN)"
    named = plain.with_name(f"{plain.stem}-nvpmodel-0-maxn.json")
    assert store.latency_path(*of, mode) == named
    plain.parent.mkdir(parents=True)
    plain.with_suffix(".journal").touch()
    assert store.latency_path(*of, mode) == plain, "an interrupted profile goes on"
    plain.with_suffix(".journal").unlink()
    older = stored(tiny, "jetson")
    assert store.latency_path(*of, mode) == older.path, "it does not say its mode"
    environment = (*older.table.environment, ("power_mode", mode))
    older = stored(tiny, "jetson", environment=environment)
    assert store.latency_path(*of, mode) == older.path == plain
    assert store.latency_path(*of, "nvpmodel 2 (15W)") != plain
    assert store.latency_path(*of, mode, home()) == home() / named.name
    assert serving_tables.serving(Target("jetson"), tiny) == (older,)
    plain.write_text("{")
    assert store.latency_path(*of, mode) == named


def test_a_shipped_table_is_hidden_by_one_of_the_users_in_any_power_mode(
    tiny: Space, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored(tiny, "jetson")
    monkeypatch.setattr(store, "SHIPPED", home())
    monkeypatch.setenv("PONAS_HOME", str(tmp_path / "second"))
    mine = in_mode(tiny, "nvpmodel 0 (MAXN)")
    assert known_devices()["jetson"] == (mine,)
