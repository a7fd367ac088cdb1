"""Downloads from a server on this machine: whole, broken, resumed, changed on the way, and not to be had."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import numpy as np
import pytest
from safetensors.numpy import save
from typer.testing import CliRunner

from ponas_deploy.commands.app import app
from ponas_deploy.engines import published_weights
from ponas_deploy.errors import PonasError
from ponas_deploy.files.contents import weights_contents
from ponas_deploy.files.download import Remote, download, downloaded
from ponas_deploy.files.notes import no_bar

CONTENT = save({"a": np.arange(300_000, dtype=np.float32)})


@dataclass
class Server:
    """What is served, how many bytes of an answer come before it breaks, and the ranges asked for."""

    url: str = ""
    content: bytes = CONTENT
    tag: str = '"one"'
    breaks_after: int | None = None
    status: int = 200
    asked: list[str | None] = field(default_factory=list)

    def remote(self, sha: str | None = None, size: int | None = None) -> Remote:
        return Remote(f"{self.url}/weights_w1.0", size, sha)


@pytest.fixture
def server() -> Iterator[Server]:
    served = Server()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            wanted = self.headers.get("Range")
            served.asked.append(wanted)
            start = 0
            if wanted and self.headers.get("If-Range") == served.tag:
                start = int(re.findall(r"\d+", wanted)[0])
            if start >= len(served.content):
                self.send_error(416)
                return
            if served.status != 200:
                self.send_error(served.status)
                return
            self.send_response(206 if start else 200)
            self.send_header("Content-Length", str(len(served.content) - start))
            self.send_header("ETag", served.tag)
            self.end_headers()
            end = len(served.content) if served.breaks_after is None else start + served.breaks_after
            self.wfile.write(served.content[start:end])

        def log_message(self, format: str, *arguments: object) -> None:
            pass

    running = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    served.url = f"http://127.0.0.1:{running.server_port}"
    thread = Thread(target=running.serve_forever, args=(0.01,))
    thread.start()
    yield served
    running.shutdown()
    thread.join()
    running.server_close()


def fetched(remote: Remote, folder: Path) -> Path:
    with no_bar() as advance:
        return download(remote, folder, weights_contents, advance)


def test_a_file_comes_once_with_its_hash(tmp_path: Path, server: Server) -> None:
    remote = server.remote(sha256(CONTENT).hexdigest(), len(CONTENT))
    assert downloaded(remote, tmp_path) == ""
    path = fetched(remote, tmp_path)
    assert path.read_bytes() == CONTENT
    assert downloaded(remote, tmp_path) == sha256(CONTENT).hexdigest()
    assert sorted(one.name for one in tmp_path.iterdir()) == ["weights_w1.0", "weights_w1.0.sha256"]
    fetched(remote, tmp_path)
    assert server.asked == [None]


def test_a_broken_transfer_goes_on_where_it_was(tmp_path: Path, server: Server) -> None:
    server.breaks_after = 500_000
    with pytest.raises(PonasError, match=r"ended after 500,000 of .* bytes: give the same command again"):
        fetched(server.remote(), tmp_path)
    assert not (tmp_path / "weights_w1.0").exists()
    server.breaks_after = None
    assert fetched(server.remote(), tmp_path).read_bytes() == CONTENT
    assert server.asked == [None, "bytes=500000-"]


def test_a_file_that_changed_meanwhile_comes_anew(tmp_path: Path, server: Server) -> None:
    server.breaks_after = 500_000
    with pytest.raises(PonasError):
        fetched(server.remote(), tmp_path)
    server.content, server.tag, server.breaks_after = save({"b": np.ones(5, np.float32)}), '"two"', None
    assert fetched(server.remote(), tmp_path).read_bytes() == server.content


def test_what_came_whole_and_was_not_put_in_place_comes_anew(tmp_path: Path, server: Server) -> None:
    (tmp_path / "weights_w1.0.part").write_bytes(CONTENT)
    (tmp_path / "weights_w1.0.part.tag").write_text(server.tag)
    assert fetched(server.remote(), tmp_path).read_bytes() == CONTENT


def test_a_copy_that_was_changed_comes_anew(tmp_path: Path, server: Server) -> None:
    path = fetched(server.remote(), tmp_path)
    path.write_bytes(CONTENT[:-1])
    assert downloaded(server.remote(), tmp_path) == ""
    assert fetched(server.remote(), tmp_path).read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("expected", "said"),
    [
        (
            {"sha": "0" * 64},
            "expected 0{64}: it is another file, or was changed on the way; nothing was kept",
        ),
        ({"size": 7}, "bytes, expected 7: nothing was kept"),
    ],
)
def test_another_hash_or_size_is_refused_and_nothing_kept(
    tmp_path: Path, server: Server, expected: dict[str, str], said: str
) -> None:
    with pytest.raises(PonasError, match=said):
        fetched(server.remote(**expected), tmp_path)  # type: ignore[arg-type]
    assert not list(tmp_path.iterdir())


def test_a_page_in_the_place_of_the_file_is_refused(tmp_path: Path, server: Server) -> None:
    server.content = b"<html>sign in</html>"
    with pytest.raises(PonasError, match=r"is a web page .* Nothing was kept"):
        fetched(server.remote(), tmp_path)
    assert not list(tmp_path.iterdir())


def test_what_cannot_be_had_is_a_sentence(tmp_path: Path, server: Server) -> None:
    server.status = 404
    with pytest.raises(PonasError, match="the server answers 404 Not Found"):
        fetched(server.remote(), tmp_path)
    with pytest.raises(PonasError, match="cannot be reached"):
        fetched(Remote("http://127.0.0.1:1/weights"), tmp_path)
    assert not list(tmp_path.iterdir())


def test_the_command_says_where_weights_are_had_and_gets_them_when_asked(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = CliRunner().invoke(app, ["weights", "--space", "ofa-mbv3"])
    assert told.exit_code == 0
    said = "".join(told.output.split())
    assert "han-cai/files/master/ofa/ofa_nets/ofa_mbv3_d234_e346_k357_w1.0" in said
    assert "notknownhere" in said
    monkeypatch.setitem(published_weights.PUBLISHED, "ofa-mbv3", server.remote())
    assert "not downloaded" in CliRunner().invoke(app, ["weights"]).output
    assert not server.asked, "nothing is fetched without --download"
    got = CliRunner().invoke(app, ["weights", "--download", "--json"])
    assert got.exit_code == 0, got.output
    assert sha256(CONTENT).hexdigest() in got.stdout
    assert published_weights.published_weights("ofa-mbv3").file
    none = CliRunner().invoke(app, ["weights", "--space", "ponas", "--download"])
    assert none.exit_code == 1
    assert "published no weights" in " ".join(none.output.split())
