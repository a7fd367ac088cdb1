"""Standard output and error as they come: of any encoding, closed, or full.

A character that the stream's encoding lacks is replaced, by one that looks like it where there is one, so
that columns stay where they are. That is set on the streams: it holds for reports, notes and help texts.
"""

from __future__ import annotations

import codecs
import os
import sys
from io import TextIOWrapper

_REPLACING = "ponas-replacing"
_LOOKS_LIKE = {
    **dict.fromkeys("│┃╎╏┆┇║╷╵", "|"),
    **dict.fromkeys("─━╌╍┄┅═╴╶–—−‐", "-"),
    **dict.fromkeys("┌┐└┘├┤┬┴┼╭╮╰╯╞╡╪", "+"),
    **dict.fromkeys("•●◆▪·∙", "*"),
    **dict.fromkeys("█▉▊▋▌▍▎▏▐░▒▓▇▆▅▄▃▂▁", "#"),
    **dict.fromkeys("’‘`´", "'"),
    **dict.fromkeys("“”„", '"'),
    **{"×": "x", "µ": "u", "μ": "u", "…": ".", "≤": "<", "≥": ">", "±": "~", "→": ">", "←": "<", "\xa0": " "},
}


def prepare() -> None:
    """Make both streams take any text; one that is closed takes it to nowhere."""
    codecs.register_error(_REPLACING, _replaced)
    sys.stdout, sys.stderr = sys.stdout or _nowhere(), sys.stderr or _nowhere()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors=_REPLACING)


def _nowhere() -> TextIOWrapper:
    return open(os.devnull, "w", encoding="utf-8")


def _replaced(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(_LOOKS_LIKE.get(one, "?") for one in error.object[error.start : error.end]), error.end


def flush() -> None:
    """Write what is left; a reader that went away early (`ponas ... | head`) is no error of anyone.

    OSError where the stream cannot be written for another reason, such as a full disk.
    """
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        discard()


def discard() -> None:
    """Let what is left of standard output go nowhere: else the interpreter fails on it at the end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
