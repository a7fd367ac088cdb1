"""A command that profiles a board, as a process of its own: everything that it asks for is written down."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from conftest import tiny_space
from ponas_deploy.boards.book import Board, Entry
from ponas_deploy.commands.signals import Ended, raise_when_ended
from ponas_deploy.errors import PonasError
from ponas_deploy.files.documents import compact
from ponas_deploy.profiling.on_board import profile_on_board
from ponas_deploy.profiling.worker import Request
from ponas_deploy.remote import job as jobs
from ponas_deploy.remote.place import place_on
from searchspace import SPACES

REFUSED = 3
"""The exit code where it ends in a sentence."""


@contextmanager
def profiling(entry: Entry, request: Request, asked: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Such a process; `asked` gets a line for each round that it asks for."""
    words = [sys.executable, __file__, json.dumps(compact(entry)), request.text(), str(asked)]
    path = os.pathsep.join([str(Path(__file__).parents[2]), str(Path(__file__).parents[1])])
    environment = {**os.environ, "PYTHONPATH": path}
    log = asked.with_suffix(".log")
    with (
        log.open("ab") as file,
        subprocess.Popen(words, env=environment, stdout=file, stderr=file) as process,
    ):
        try:
            yield process
        finally:
            process.kill()


def main(entry: str, request: str, asked: str) -> None:
    SPACES["tiny"] = tiny_space
    do = jobs.Job.do

    def noted(job: jobs.Job, name: str, *on_line: Any, **details: Any) -> Any:
        if name == "round":
            with open(asked, "a", encoding="utf-8") as file:
                file.write(json.dumps({"number": details["number"], "order": list(details["runs"])}) + "\n")
        return do(job, name, *on_line, **details)

    jobs.Job.do = noted  # type: ignore[method-assign]
    values = json.loads(entry)
    raise_when_ended()
    with place_on(Entry(values["name"], Board(**values["board"])), "test", print) as place:
        profile_on_board(Request.from_text(request), place)


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except Ended as ended:
        sys.exit(ended.exit_code)
    except PonasError as error:
        print(error)
        sys.exit(REFUSED)
