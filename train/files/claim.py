"""A folder that belongs to one run: only the very same settings may go on in it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ponas_deploy.files.documents import Format, read_document, write_document
from ponas_deploy.files.opening import refuse_file
from train.errors import RunMismatchError
from train.files.documents import RunDocument
from train.settings import dotted

_NAME = "run.json"


def claim(
    folder: Path,
    kind: Format[RunDocument],
    identity: Mapping[str, Any],
    results: Sequence[Path],
    free: Sequence[str] = (),
    defaults: Mapping[str, Any] | None = None,
    told: Mapping[str, Any] | None = None,
) -> None:
    """Start or continue a run in `folder`: `run.json` of format `kind` holds everything that decides it.

    Dotted names that are `free` decide nothing, nor do those of `told`, which are kept for people as the
    newest command has them; what an older run does not name had its value in `defaults`. RunMismatchError
    names what changed; OverwriteError when `results` lie there without a run.
    """
    wanted = {name: value for name, value in _plain(identity).items() if name not in free}
    told = _plain(told or {})
    path = folder / _NAME
    if not path.exists():
        for result in results:
            refuse_file(result, overwrite=False)
        write_document(path, kind, RunDocument({**wanted, **told}))
        return
    kept = read_document(path, kind).settings
    found = {**_plain(defaults or {}), **kept}
    names = sorted((set(found) | set(wanted)) - {*free, *told})
    changes = [
        f"{name} was {found.get(name)}, now {wanted.get(name)}"
        for name in names
        if found.get(name) != wanted.get(name)
    ]
    if changes:
        raise RunMismatchError(folder, changes)
    if {**kept, **told} != kept:
        write_document(path, kind, RunDocument({**kept, **told}), overwrite=True)


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    return dict(dotted(json.loads(json.dumps(values))))
