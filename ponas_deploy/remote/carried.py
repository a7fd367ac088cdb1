"""What an archive of `ponas bundle` does on a board, where nobody is connected: its plan, from its own files.

The archive holds a plan (`bundle.json`), the models as parcels (`blobs/`) and the modules of the pack. It is
run as it is or unpacked (`__main__.py`). What is measured is kept in a folder beside the result until that
is written, so that the same command goes on after a kill. The result is one archive: the plan as it was, what
there is to say of each profile (`result.json`) and the journals.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import sys
import zlib
from pathlib import Path
from typing import Any, Mapping, Sequence
from zipfile import BadZipFile, ZipFile

from ponas_deploy.errors import PonasError
from ponas_deploy.files.lock import lock
from ponas_deploy.remote.carried_files import (
    PLAN,
    RESULT,
    RESULT_FORMAT,
    Files,
    Plan,
    add,
    journal_name,
    whole,
)
from ponas_deploy.remote.carried_profile import Said, carry_out


def main(archive: str, arguments: Sequence[str]) -> int:
    """Carry out what an archive or its folder holds: the exit code."""
    parser = argparse.ArgumentParser(
        prog=f"{Path(sys.executable).name} {Path(archive).name}",
        description="Measure this machine for ponas-deploy, and write one file to bring back."
        " The same command again goes on where it was ended.",
    )
    parser.add_argument("--out", default=".", metavar="FOLDER", help="where the result goes (here)")
    out = Path(parser.parse_args(list(arguments)).out)
    said = Said()
    try:
        result = carried(Path(archive), out, said)
    except KeyboardInterrupt:
        said("stopped: the same command again goes on from here.")
        return 130
    except PonasError as error:
        print(error, file=sys.stderr)
        return 1
    except (OSError, BadZipFile, zlib.error) as error:
        reason = getattr(error, "strerror", None) or str(error)
        print(f"{getattr(error, 'filename', None) or archive}: {reason}.", file=sys.stderr)
        return 1
    said(f"done: {result}")
    print("Bring this file back, and run where the archive was made:")
    print(f"  ponas profile --import {result.name}")
    return 0


def carried(archive: Path, out: Path, said: Said) -> Path:
    """Carry out the plan of an archive in the folder `out`: the result's file.

    PonasError where no profile of it could be made, or another process is at it.
    """
    with Files(archive) as files:
        plan = Plan.of(files.read(PLAN))
        done = sorted(out.glob(f"ponas-result-*-{plan.sha[:12]}.zip"))
        if done:
            return done[0]
        folder = out / f"ponas-bundle-{plan.sha[:12]}"
        folder.mkdir(parents=True, exist_ok=True)
        with open(folder / "lock", "ab") as held:
            if not lock(held.fileno()):
                raise PonasError(f"{folder} is in use by another process of this archive: wait for it.")
            files.unpack(folder)
            ended = _profiles(plan, folder, said)
            result = out / f"ponas-result-{_device(ended)}-{plan.sha[:12]}.zip"
            _write_result(result, plan, ended, folder)
            shutil.rmtree(str(folder), ignore_errors=True)
    return result


def _profiles(plan: Plan, folder: Path, said: Said) -> dict[str, dict[str, Any]]:
    """What there is to say of each profile by its number, of one that failed why."""
    ended: dict[str, dict[str, Any]] = {}
    for number, asked in enumerate(plan.document["profiles"]):
        file = folder / f"{number}.ended.json"
        name = " ".join(filter(None, (asked["backend"], asked["precision"])))
        if file.exists():
            ended[str(number)] = json.loads(file.read_text(encoding="utf-8"))
            continue
        said(f"{name}: about {plan.document['seconds']:.0f} s")
        try:
            found = carry_out(plan, number, folder, said)
        except PonasError as error:
            said(f"{name} is left out: {error}")
            ended[str(number)] = {"failed": str(error)}
            continue
        whole(file, json.dumps(found).encode())
        ended[str(number)] = found
    reasons = [one["failed"] for one in ended.values() if "failed" in one]
    if len(reasons) == len(ended):
        raise PonasError(f"nothing was measured: {' '.join(reasons)}")
    return ended


def _device(ended: Mapping[str, Mapping[str, Any]]) -> str:
    name = next(one["device"] for one in ended.values() if "device" in one)
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name)


def _write_result(path: Path, plan: Plan, ended: Mapping[str, Mapping[str, Any]], folder: Path) -> None:
    document = {"format": RESULT_FORMAT, "bundle": plan.sha, "profiles": ended}
    members = {PLAN: plan.text, RESULT: json.dumps(document).encode()}
    for number, one in ended.items():
        if "failed" not in one:
            members[journal_name(int(number))] = (folder / journal_name(int(number))).read_bytes()
    new = folder / "result.zip"
    with ZipFile(str(new), "w") as archive:
        for name, content in members.items():
            add(archive, name, content)
    with open(new, "rb") as file:
        os.fsync(file.fileno())
    os.replace(str(new), str(path))
