"""What a page of the documentation shows: its blocks, and whether what was printed is what stands there.

A page is run from its top to its end in one folder. Blocks between ``` marks:

- without a language, beginning with `$ `: commands, each with what it prints below it;
- `python`: run as a program, in the same folder; a block without a language right behind it, with the comment
  `<!-- prints -->`, is what it prints;
- any block behind the comment `<!-- file: NAME -->`: written there before what follows is run.

A comment right before a block says what differs when it is run here: `<!-- not run: REASON -->`, or
`<!-- run with: OPTIONS -->`, which are put behind its last command, for less work of the same kind.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

_BLOCK = re.compile(
    r"(?P<comments>(?:^<!--[^\n]*-->\n+)*)^(?P<fence>```+)(?P<language>[\w{}-]*)\n(?P<text>.*?)^(?P=fence)$",
    re.DOTALL | re.MULTILINE,
)
_COMMENT = re.compile(r"<!-- (?P<word>not run|run with|file|prints)(?:: (?P<text>.*?))? -->")


@dataclass(frozen=True)
class Block:
    """One block of a page, with the comments before it by their word."""

    language: str
    text: str
    line: int
    comments: dict[str, str] = field(default_factory=dict)

    @property
    def is_session(self) -> bool:
        """Whether it shows commands and what they print."""
        return not self.language and self.text.startswith("$ ")

    def commands(self) -> list[tuple[str, list[str]]]:
        """(command, lines that it prints); a command goes on behind a backslash at the end of its line."""
        found: list[tuple[str, list[str]]] = []
        lines = iter(self.text.splitlines())
        for line in lines:
            if not line.startswith("$ "):
                found[-1][1].append(line)
                continue
            command = line[2:]
            while command.endswith("\\"):
                command += "\n" + next(lines)
            found.append((command, []))
        return found


def blocks(page: Path) -> list[Block]:
    """All blocks of a page, in order."""
    text = page.read_text(encoding="utf-8")
    found = []
    for match in _BLOCK.finditer(text):
        comments = {one["word"]: one["text"] or "" for one in _COMMENT.finditer(match["comments"])}
        line = text.count("\n", 0, match.start("fence")) + 1
        found.append(Block(match["language"], match["text"], line, comments))
    return found


# A number of the machine or the moment: digits, and as many behind the point. What belongs to a word, a
# version, a size in pixels and a count of what was asked for are compared as they stand.
_NUMBER = re.compile(
    r"(?<![\w.:/,-])(?P<sign>[-+±]?)(?P<whole>\d[\d,]*)(?P<part>\.\d+)?(?!(?!s\b)[\w/]|[.,:-]\w)"
)
_AS_IT_STANDS = re.compile(r"\s(?:px|classes|layers|candidates|threads?|rows)\b")
_STAMP = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(?:\+\d{2}:\d{2}|Z)?")
_TIME = re.compile(r"(?<![\w:])\d+:\d{2}:\d{2}(?![\w:])")
_RULE = re.compile("[─━]{3,}")


def pattern(line: str) -> re.Pattern[str]:
    """What a shown line matches: words as they are, numbers by their form, blanks and rules of any length."""
    line = " ".join(_RULE.sub("───", line).split())
    made, at = "", 0
    while at < len(line):
        for form, matched in ((_STAMP, _STAMP.pattern), (_TIME, r"\d+:\d{2}:\d{2}")):
            if found := form.match(line, at):
                made += matched
                break
        else:
            found = _NUMBER.match(line, at)
            if found and not _AS_IT_STANDS.match(line, found.end()):
                made += "[-+]?" if found["sign"] in ("-", "+") else re.escape(found["sign"])
                made += _form(found["whole"], found["part"])
            else:
                found = None
                made += re.escape(line[at])
        at = found.end() if found else at + 1
    return re.compile(made)


def _form(whole: str, part: str | None) -> str:
    """Whole numbers, or as many digits behind the point, or as many that count (0.6658, 3.120, 1.7)."""
    if part is None:
        return r"\d[\d,]*"
    digits = len((whole + part[1:]).lstrip("0")) or 1
    counting = [rf"\d{{{before}}}\.\d{{{digits - before}}}" for before in range(1, digits)]
    counting += [rf"\d{{{before}}}\.\d{{0,{digits - before - 2}}}[1-9]" for before in range(1, digits - 1)]
    return (
        "(?:"
        + "|".join([rf"\d[\d,]*\.\d{{{len(part) - 1}}}", rf"0\.0*[1-9]\d{{{digits - 1}}}", *counting])
        + ")"
    )


def missing(shown: list[str], printed: str) -> str | None:
    """The first shown line that was not printed where it should be; None where all were.

    A line of nothing but `...` stands for any lines that are left out. Empty lines count for nothing.
    """
    lines = [" ".join(_RULE.sub("───", line).split()) for line in printed.splitlines()]
    lines = [line for line in lines if line]
    at, anywhere = 0, False
    stretch: list[str] = []
    for line in [*(one for one in shown if one.strip()), None]:
        if line is not None and line.strip() != "...":
            stretch.append(line)
            continue
        last = line is None
        if stretch:
            found = _where(stretch, lines, at, anywhere, last)
            if found is None:
                return _first_missing(stretch, lines, at, anywhere)
            at = found + len(stretch)
        elif last and not anywhere and at < len(lines):
            return f"(nothing more; printed was: {lines[at]})"
        stretch, anywhere = [], True
    return None


def _where(stretch: list[str], lines: list[str], at: int, anywhere: bool, last: bool) -> int | None:
    """Where in `lines` the whole stretch stands from `at` on, which is their very end if it is the last."""
    patterns = [pattern(line) for line in stretch]
    end = len(lines) - len(stretch)
    places = range(at, end + 1) if anywhere else range(at, at + 1)
    for place in places:
        if (last and place != end) or place > end:
            continue
        if all(one.fullmatch(line) for one, line in zip(patterns, lines[place:], strict=False)):
            return place
    return None


def _first_missing(stretch: list[str], lines: list[str], at: int, anywhere: bool) -> str:
    """The line of a stretch that has no place behind the one before it, to say it to a person."""
    for line in stretch:
        found = [place for place in range(at, len(lines)) if pattern(line).fullmatch(lines[place])]
        if not found:
            return line.strip()
        at = found[0] + 1
    return f"{stretch[0].strip()} (with the lines below it, nothing between and no more than is shown)"
