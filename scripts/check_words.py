#!/usr/bin/env python3
"""Find idioms in the project's prose that a technical writer would not use.

    scripts/check_words.py [--report-only] [PATH ...]

Docstrings, comments and string literals of Python files and the text of Markdown files are searched; identifiers and
`code in backquotes` are not. Without a PATH, everything in src, docs and README.md is searched. Each finding is one
line, ``file:line: text -> advice``. The exit status is 1 if there are findings, unless --report-only is given.
"""

from __future__ import annotations

import argparse
import ast
import io
import re
import sys
import tokenize
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DEFAULT_PATHS = ("src", "docs", "README.md")

#: (pattern, advice). A space in a pattern matches any white space, line breaks included; case is ignored.
IDIOMS = (
    # Conditions
    (r"\b(none|true|false|empty|nothing|raise \w+|only|also|even|except|as|replace it) where (?!to\b)", "if or when"),
    (r"\bwhere (there|nobody|no one|nothing|none|one of) ", "if or when"),
    (r"\bwhere (it|that|this) (is|would|does|cannot|has|needs) ", "if or when"),
    (r"\bwhere \S+ (alone )?(is|are|was|were) (none|missing|not)\b", "if or when"),
    (r"(^|[.:;] )where (the|a|an|it|that|there|no|its|\S+) [^.;]{3,80}, (?!and\b|or\b|``)\w", "if or when, first"),
    (r"\bwhere told so\b", "if told to"),
    # Agents
    (r"\b(no|some|any|every)body\b", "name the agent: the user, a process, a host"),
    (r"\b(whoever|no one|someone|anyone|everyone)\b", "name the agent"),
    (r"\b(we|us|our|ours|ourselves)\b", "name the agent: jfr-mp, this process, the runner"),
    (r"\b(a|the|no) person\b|\bpersons?'s?\b", "the user"),
    (r"\bthose (that|which|who)\b", "the jobs that, the processes that"),
    (r"\bthat one(?= (is|was|has|had|does|did|may|can|to|in|as|and|which)\b|[.,;:)]|$)", "name the thing"),
    # Hosts, databases, processes
    (r"\b(is|are|was|were|be|been|being|counts? as|found|stays?) away\b", "unreachable, down or unavailable"),
    (r"\b(is|are|was|were|be|been) ended\b", "stopped or cancelled"),
    (r"\bmourn", "reap"),
    (r"\bbur(y|ied|ies)\b", "reap"),
    (r"\bsigns? of life\b", "heartbeat"),
    (r"\bthat it lives\b|\bwhose holder lives\b|\bthe living\b|\bstill lives\b", "is alive, is running"),
    (r"\b(step|steps|work) in hand\b|\bhad in hand\b", "current step"),
    (r"\ballocations?\b", "batch"),
    # Summaries
    (r"(^|[.;] )tell(s)? (whether|what|how|that|when|the|everybody)\b", "Return, Report, Whether"),
    (r"\b(and|; ) ?tells? whether\b", "return whether"),
    # Metaphors and idioms
    (r"\bshared truth\b|\bstate of things\b", "source of truth; status"),
    (r"\bhand(s|ed|ing)? in\b", "submit"),
    (r"\bhow far\b", "progress, state"),
    (r"\bhalf[ -](done|written|a line|of it)\b|\b(or|is|be) half\b|, half or\b", "incomplete or truncated"),
    (r"\bmisfortunes?\b", "injected faults"),
    (r"\bbehind (our|the|its) back\b", "outside jfr-mp"),
    (r"\b(weigh|weighs|weighed|weighing)\b", "interpret, evaluate"),
    (r"\banew\b", "again"),
    (r"\bin vain\b", "without success"),
    (r"\bnow and then\b|\bby and by\b|\bfrom time to time\b", "periodically"),
    (r"\bat first sight\b", "on first contact"),
    (r"\b(by|of|in) (its|our|their) own words?\b|\ba word of\b|\bthe word that\b", "the message, a field"),
    (r"\bof no account\b|\bwithout leave\b|\bto be had\b|\bis to hand\b", "plain words"),
    (r"\b(it|this|which|that|worker|directory|line|store) (is|was) (no|none of) (?!longer|more)", "is not a"),
    (r"\b(lends?|lent)\b", "yield, provide"),
    (r"\bgiven? on\b", "pass on"),
    (r"\b(looks?|looked|looking) after\b", "process, supervise, maintain"),
    (r"\btried again\b|\bis put off\b", "retried"),
    (r"\btook? the (word|trouble)\b|\bsays? nothing about\b", "allows no conclusion"),
    (r"\b(still|be) at it\b", "in progress"),
    (r"\bwhose it is\b", "the job it belongs to"),
)

#: (file, pattern, reason): findings that stay.
ALLOWED: tuple[tuple[str, str, str], ...] = ()


@dataclass(frozen=True)
class Passage:
    """Some prose, and the line of the file on which it begins."""

    line: int
    text: str


@dataclass(frozen=True)
class Finding:
    """An idiom in a file."""

    path: Path
    line: int
    text: str
    advice: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.text} -> {self.advice}"


class _Strings(ast.NodeVisitor):
    """Collects the string literals of a module; an f-string is one passage."""

    def __init__(self) -> None:
        self.passages: list[Passage] = []

    def visit_Constant(self, node: ast.Constant) -> None:
        if isinstance(node.value, str):
            self.passages.append(Passage(node.lineno, node.value))

    def visit_JoinedStr(self, node: ast.JoinedStr) -> None:
        parts = [part.value if isinstance(part, ast.Constant) else "{}" for part in node.values]
        self.passages.append(Passage(node.lineno, "".join(map(str, parts))))
        for part in node.values:
            if isinstance(part, ast.FormattedValue):
                self.visit(part.value)


def python_passages(source: str) -> Iterator[Passage]:
    """Yield the string literals and the comments of a module; comments on consecutive lines are one passage."""
    strings = _Strings()
    strings.visit(ast.parse(source))
    yield from strings.passages
    block: list[str] = []
    first = 0
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type != tokenize.COMMENT:
            continue
        if block and token.start[0] != first + len(block):
            yield Passage(first, "\n".join(block))
            block = []
        if not block:
            first = token.start[0]
        block.append(token.string.lstrip("#:! "))
    if block:
        yield Passage(first, "\n".join(block))


def markdown_passages(source: str) -> Iterator[Passage]:
    """Yield the paragraphs of a Markdown file, examples in code blocks included."""
    line = 1
    for paragraph in re.split(r"\n(?=\s*\n)", source):
        yield Passage(line, paragraph)
        line += paragraph.count("\n") + 1


def findings_in(path: Path, passages: Iterable[Passage]) -> Iterator[Finding]:
    """Yield the idioms in the passages of a file."""
    seen = set()
    for passage in passages:
        prose = re.sub(r"``.+?``|`[^`\n]+`", lambda code: "`" * len(code[0]), passage.text)
        for pattern, advice in _COMPILED:
            for match in pattern.finditer(prose):
                start = match.start() + len(match[0]) - len(match[0].lstrip())
                line = passage.line + prose.count("\n", 0, start)
                if (line, match.end()) not in seen and not _is_allowed(path, match[0]):
                    seen.add((line, match.end()))
                    yield Finding(path, line, " ".join(_around(passage.text, match).split()), advice)


def _around(text: str, match: re.Match[str]) -> str:
    start, end = max(match.start() - 25, 0), match.end() + 25
    return text[start:end]


def _is_allowed(path: Path, text: str) -> bool:
    return any(
        path.as_posix() == file and re.search(pattern, text, re.IGNORECASE) for file, pattern, _reason in ALLOWED
    )


_COMPILED = [(re.compile(pattern.replace(" ", r"\s+"), re.IGNORECASE), advice) for pattern, advice in IDIOMS]
_READERS = {".py": python_passages, ".md": markdown_passages}


def files_of(paths: Iterable[str]) -> Iterator[Path]:
    """Yield the files to search, relative to the checkout if they are in it."""
    for name in paths:
        path = Path(name) if Path(name).is_absolute() else ROOT / name
        found = sorted(path.rglob("*")) if path.is_dir() else [path]
        for file in found:
            if file.suffix in _READERS and "_build" not in file.parts:
                yield file


def main() -> int:
    """Print the findings; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("paths", nargs="*", default=DEFAULT_PATHS, metavar="PATH")
    parser.add_argument("--report-only", action="store_true", help="exit with 0 even if there are findings")
    options = parser.parse_args()
    number = 0
    for file in files_of(options.paths):
        shown = file.relative_to(ROOT) if file.is_relative_to(ROOT) else file
        for finding in findings_in(shown, _READERS[file.suffix](file.read_text(encoding="utf-8"))):
            number += 1
            print(finding)
    if number:
        print(f"{number} idioms found; see the advice behind each", file=sys.stderr)
    return 1 if number and not options.report_only else 0


if __name__ == "__main__":
    sys.exit(main())
