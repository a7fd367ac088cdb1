"""Every version ever written is read: the files in `written_before/` are as those versions wrote them.

They were written on 28 November 2026 by the code of that day, on the fake device: a profile and its journal,
the accuracy table of `sample_tables`, the manifest of an engine; `manifest-2.json` by that of two days later.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from ponas_deploy.engines.manifest_file import read_manifest, write_manifest
from ponas_deploy.errors import FileFormatError
from ponas_deploy.files.journal import Journal
from ponas_deploy.profiling.resume import WHERE_SAID, previous_of
from ponas_deploy.tables.files import load_accuracy_table, load_latency_table
from ponas_deploy.tables.latency_file import write_latency_table
from ponas_deploy.tables.quality import quality_findings
from ponas_deploy.tables.rounds import Round, Spread
from ponas_deploy.tables.store import SHIPPED
from sample_tables import accuracy_table
from searchspace import SPACES
from searchspace.space import Space

WRITTEN = Path(__file__).parent / "written_before"


def test_a_latency_table_of_version_1(tmp_path: Path) -> None:
    table = load_latency_table(WRITTEN / "latency-table-1.json")
    said = table.protocol
    assert (said.rounds, said.stopped_by, said.seed, said.redone_visits) == ((3,), "rounds", 0, 0)
    assert said.plan["sample_ns"] == 1e6
    assert said.plan["most_contended_pct"] == 20, "was most_spoiled_pct"
    assert said.builds is not None
    assert said.builds.total_s > 0
    assert said.interference is not None
    assert said.interference.kept_rounds == 3
    assert said.at_start["affinity"] == "0-1"
    assert said.other == {}, "nothing that version 1 said is lost"
    assert [one.number for one in table.rounds] == [0, 1, 2]
    assert table.certificate is not None
    assert table.certificate.networks[0].choices == ("k3e3", "k3e3", "k3e3")
    write_latency_table(table, tmp_path / "t.json")
    assert load_latency_table(tmp_path / "t.json") == table
    assert json.loads((tmp_path / "t.json").read_text())["format"] == "ponas.latency-table/2"


@pytest.mark.parametrize("path", sorted((SHIPPED / "latency").rglob("*.json")), ids=lambda path: path.stem)
def test_a_shipped_table_keeps_what_it_says(path: Path, tmp_path: Path) -> None:
    written = json.loads(path.read_text())
    table = load_latency_table(path)
    said = written["protocol"]
    assert written["format"] == "ponas.latency-table/1"
    assert table.protocol.other == {}
    assert "+".join(map(str, table.protocol.rounds)) == said["rounds"]
    assert table.protocol.interference is not None
    wrong, kept = table.protocol.interference.wrong_rounds, table.protocol.interference.kept_rounds
    assert f"{wrong} of {kept}" == said["wrong_rounds"]
    middle = float(said["load"].partition(" ")[0])
    assert isinstance(table.protocol.interference.load, Spread)
    assert table.protocol.interference.load.median == middle
    write_latency_table(table, tmp_path / "t.json")
    assert load_latency_table(tmp_path / "t.json") == table
    assert quality_findings(table) == quality_findings(load_latency_table(tmp_path / "t.json"))


def test_an_accuracy_table_of_version_1() -> None:
    assert load_accuracy_table(WRITTEN / "accuracy-table-1.json") == accuracy_table()


def test_a_manifest_of_version_1(tiny: Space, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SPACES, "tiny", lambda *_: tiny)
    shutil.copy(WRITTEN / "manifest-1.json", tmp_path / "manifest.json")
    manifest = read_manifest(tmp_path)
    assert (manifest.choices, manifest.percentile) == (("k5e6se", "k3e6", "k5e6se"), 50)
    assert not manifest.trained, "it says so in words alone"
    assert manifest.measured is not None
    assert manifest.measured.runs == 4
    assert manifest.measured.interference == (
        Round(0, others_pct=4.7, contended_pct=1.5, clock_mhz=2596.1),
    ), "was called the weather, and spoiled_pct"


def test_a_manifest_of_version_2_from_before_its_later_keys(
    tiny: Space, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As it was written before limits besides latency were checked, and memory and energy were measured."""
    monkeypatch.setitem(SPACES, "tiny", lambda *_: tiny)
    shutil.copy(WRITTEN / "manifest-2.json", tmp_path / "manifest.json")
    written = json.loads((tmp_path / "manifest.json").read_text())
    assert not {"checked", "throughput"} & set(written)
    assert not {"memory", "energy", "no_energy", "back_to_back"} & set(written["measured"])
    manifest = read_manifest(tmp_path)
    assert (manifest.choices, manifest.verdict) == (("k5e6se", "k3e6", "k3e6"), "met")
    assert (manifest.checked, manifest.throughput) == ((), None)
    timing = manifest.measured
    assert timing is not None
    assert (timing.runs, timing.percentile_ms(50)) == (written["measured"]["runs"], 0.08137)
    assert (timing.memory, timing.energy, timing.no_energy, timing.back_to_back) == ((), (), "", False)
    (tmp_path / "manifest.json").unlink()
    write_manifest(manifest, tmp_path)
    assert read_manifest(tmp_path) == manifest


def journal(folder: Path) -> Journal:
    path = Path(shutil.copy(WRITTEN / "journal-1.jsonl", folder / "journal"))
    header = json.loads(path.read_text().partition("\n")[0])
    del header["format"]
    return Journal(path, {**header, "clocks": {"governor": "performance"}}, WHERE_SAID)


def test_a_journal_of_version_1(tmp_path: Path) -> None:
    with journal(tmp_path) as book:
        known = previous_of(book.lines)
    assert book.note.startswith("continuing"), "it says nothing of clocks"
    assert known.networks is not None
    assert known.networks.fit[0] == "k3e6,k3e3,k3e3"
    assert known.samples.rounds["k3e3,k3e6,k3e3"][0] == 64093.8
    assert [one.number for one in known.rounds] == [0, 1, 2]


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ('{"round": 0, "runs": 1, "ns": 1.0}', "key: is missing."),
        ('{"key": "a", "round": 0, "runs": 1, "ns": "fast"}', "ns: is 'fast', expected a finite number."),
        ('{"key": "a", "round": -1, "runs": 1, "ns": 1.0}', "round: is -1, expected 0 or more."),
        ('{"key": "a", "round": 0, "runs": 1, "ns": 0}', "ns: is 0, expected more than 0."),
        ('{"fit": ["a"]}', "check: is missing."),
        ('{"weather": 3}', "interference: is 3, expected an object."),
        ('{"weather": {"number": 0, "others_pct": "many"}}', "interference.others_pct: is 'many', expected"),
    ],
)
def test_an_entry_of_a_profiles_journal_that_does_not_fit_is_named(
    tmp_path: Path, entry: str, message: str
) -> None:
    path = tmp_path / "journal"
    path.write_text(f'{{"format": "ponas.journal/1"}}\n{entry}\n')
    with Journal(path, {}) as book, pytest.raises(FileFormatError) as error:
        previous_of(book.lines)
    assert str(error.value).startswith(f"{path}, line 2, {message}")
