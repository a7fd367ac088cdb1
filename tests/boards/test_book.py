"""The device book: what may be written in it, and what a person wrote."""

from __future__ import annotations

from pathlib import Path

import pytest

from ponas_deploy.boards.address import words_before
from ponas_deploy.boards.book import Board, add_board, book_path, find_board, read_book, remove_board
from ponas_deploy.errors import FileFormatError, PonasError, UnknownNameError


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PONAS_HOME", str(tmp_path))


def test_a_board_comes_back_by_name_and_alias() -> None:
    jetson = Board(host="nvidia@10.0.0.7", port=2222, backends=("tensorrt",), aliases=("orin",))
    add_board("jetson", jetson)
    add_board("box", Board(command=("docker", "exec", "-i", "box")))
    assert [entry.name for entry in read_book()] == ["jetson", "box"]
    assert find_board("Orin") == find_board("jetson")
    found = find_board("jetson")
    assert found is not None
    assert found.board == jetson


def test_comments_of_a_person_survive() -> None:
    book_path().write_text('# mine\n[jetson]\nhost = "jet"  # on the desk\n\n[pi]\nhost = "pi"\n')
    add_board("box", Board(command=()))
    remove_board("pi")
    text = book_path().read_text()
    assert "# mine" in text
    assert "# on the desk" in text
    assert [entry.name for entry in read_book()] == ["jetson", "box"]


@pytest.mark.parametrize(
    ("text", "where", "reason"),
    [
        ("[jetson\n", "", "is not valid TOML"),
        ('[jetson]\nhost = "a"\ncommand = []\n', "jetson", "not both"),
        ("[jetson]\nport = 22\n", "jetson", "either host"),
        ('[jetson]\nhost = "-oProxyCommand=x"\n', "jetson", "no address"),
        ('[jetson]\nhost = "a b"\n', "jetson", "no address"),
        ('[jetson]\nhost = "a"\nport = "22"\n', "jetson.port", "expected"),
        ('[jetson]\nhost = "a"\npython = "python3; rm"\n', "jetson", "no plain path"),
        ('[jetson]\nhost = "a"\npyhton = "p"\n', "jetson", "unknown key 'pyhton'; known are host, "),
        ('[cpu]\nhost = "a"\n', "cpu", "always means this machine"),
        ('[Jet]\nhost = "a"\n', "Jet", "no name of a board"),
        ('[a]\nhost = "a"\n[b]\nhost = "b"\naliases = ["a"]\n', "b", "two boards"),
        ("jetson = 1\n", "jetson", "expected"),
        ("jetson = 1979-05-27\n", "jetson", "expected"),
    ],
)
def test_what_is_wrong_in_the_book_is_named(text: str, where: str, reason: str) -> None:
    book_path().write_text(text)
    with pytest.raises(FileFormatError, match=reason) as raised:
        read_book()
    assert raised.value.where == where


def test_a_taken_name_is_refused_and_nothing_changes() -> None:
    add_board("jetson", Board(host="a", aliases=("orin",)))
    before = book_path().read_bytes()
    for name, board in (("jetson", Board(host="b")), ("pi", Board(host="b", aliases=("orin",)))):
        with pytest.raises(PonasError, match=r"already|two boards"):
            add_board(name, board)
    assert book_path().read_bytes() == before
    add_board("jetson", Board(host="b"), overwrite=True)
    assert read_book()[0].board.host == "b"


def test_an_unknown_board_lists_those_there_are() -> None:
    add_board("jetson", Board(host="a"))
    with pytest.raises(UnknownNameError, match=r"known are jetson\. `ponas devices add pi --host"):
        remove_board("pi")


def test_ssh_gets_its_host_behind_two_dashes() -> None:
    words = words_before(Board(host="nvidia@jet", port=2222, key="~/.ssh/jet"), asks=False)
    assert words[-2:] == ["--", "nvidia@jet"]
    assert words[:3] == ["ssh", "-p", "2222"]
    assert words[4] == str(Path("~/.ssh/jet").expanduser())
    assert "BatchMode=yes" in words
    assert "BatchMode=yes" not in words_before(Board(host="a"), asks=True)
    assert words_before(Board(command=("docker", "exec", "-i", "box"))) == ["docker", "exec", "-i", "box"]
