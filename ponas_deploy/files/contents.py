"""What a file that was given for weights holds, told by its first bytes and not by its name.

Downloads go wrong in a few usual ways (a web page, a Git LFS pointer, an archive around the file, half of a
file): each is one sentence that says so and what to do.
"""

from __future__ import annotations

import re
import zipfile
from pathlib import Path
from struct import unpack
from typing import Literal

from ponas_deploy.errors import FileFormatError
from ponas_deploy.files.opening import read_head

Contents = Literal["safetensors", "checkpoint", "old checkpoint"]
"""A safetensors file; what `torch.save` writes today (a zip archive); what it wrote before 1.6 (pickles)."""

_HEAD_BYTES = 512
_LONGEST_HEADER = 100_000_000  # the bound of the safetensors format
_ZIP, _PICKLE = b"PK", re.compile(rb"\x80[\x02-\x05]")
_UNPACK = "unpack it, and name the file inside."
_DOWNLOADS = (
    (
        rb"version https://git-lfs",
        "is a Git LFS pointer, not the file it stands for: `git lfs pull` gets that.",
    ),
    (rb"\s*<", "is a web page (HTML or XML), not the file: download the file itself."),
    (rb"\x1f\x8b", f"is compressed with gzip: {_UNPACK}"),
    (rb"BZh", f"is compressed with bzip2: {_UNPACK}"),
    (rb"\xfd7zXZ", f"is compressed with xz: {_UNPACK}"),
    (rb"\x28\xb5\x2f\xfd", f"is compressed with zstd: {_UNPACK}"),
    (rb"7z\xbc\xaf|Rar!", f"is a 7z or RAR archive: {_UNPACK}"),
    (rb"(?s:.{257})ustar", f"is a tar archive: {_UNPACK}"),
)
"""What became of a download, whatever was asked for."""
_NO_WEIGHTS = (
    (
        rb"\x89HDF",
        "is an HDF5 file, as Keras writes: weights are read from safetensors and torch checkpoints.",
    ),
    (rb"\x93NUMPY", "is a NumPy array: weights are read from safetensors and torch checkpoints."),
)
_NEITHER = (
    "is neither a safetensors file nor a torch checkpoint: name weights that `ponas train` wrote or `ponas"
    " weights` got."
)
_SHOWN = 3


def weights_contents(path: Path) -> Contents:
    """Whether a file is safetensors or a torch checkpoint; FileFormatError says what else it is.

    No more than its first bytes and, of a zip archive, its list of names is read.
    """
    head = read_head(path, _HEAD_BYTES)
    if not head:
        raise FileFormatError(path, "", "is empty: copy or download it again.")
    if is_safetensors(head):
        return "safetensors"
    if head.startswith(_ZIP):
        _check_archive(path)
        return "checkpoint"
    if _PICKLE.match(head):
        return "old checkpoint"
    words = next((words for pattern, words in _NO_WEIGHTS if re.match(pattern, head)), "")
    raise FileFormatError(path, "", download_fault(head) or words or _NEITHER)


def download_fault(head: bytes) -> str:
    """What a file is in the place of the one that was to be fetched, by its first bytes; else empty."""
    return next((words for pattern, words in _DOWNLOADS if re.match(pattern, head)), "")


def is_safetensors(head: bytes) -> bool:
    """The length of a JSON document, and its beginning."""
    return head[8:9] == b"{" and unpack("<Q", head[:8])[0] <= _LONGEST_HEADER


def _check_archive(path: Path) -> None:
    """FileFormatError for a zip archive that `torch.save` did not write."""
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
    except (zipfile.BadZipFile, NotImplementedError, ValueError, OSError, EOFError) as error:
        reason = "is a torch checkpoint or another zip archive of which a part is missing or broken:"
        raise FileFormatError(path, "", f"{reason} copy or download it again ({error}).") from error
    names = [entry.filename for entry in entries]
    inside = {name.rpartition("/")[2] for name in names}
    if "data.pkl" not in inside:
        held = ", ".join(names[:_SHOWN]) + (", ..." if len(names) > _SHOWN else "")
        raise FileFormatError(path, "", f"is a zip archive, no torch checkpoint (it holds {held}): {_UNPACK}")
    if "constants.pkl" in inside:
        reason = (
            "is a TorchScript program, and only tensors are read: if you trust where it came from, save them,"
        )
        raise FileFormatError(path, "", f"{reason} `torch.save(torch.jit.load(FILE).state_dict(), NEW)`.")
    if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
        reason = "is a torch checkpoint that was packed again, compressed: save it anew,"
        raise FileFormatError(path, "", f"{reason} `torch.save(torch.load(FILE), NEW)`.")
