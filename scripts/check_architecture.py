#!/usr/bin/env python3
"""Check what import-linter cannot see of the architecture, and print its figures.

    python scripts/check_architecture.py [--report-only] [--json] [--base REV]

Findings, which make the exit code 1: MongoDB's dialect outside of jfr_mp.database, import cycles (imports within
functions count, those for type checking do not), a class name that two modules define, and figures above their limit.
--report-only lists them and exits 0; --base prints the figures of a git revision beside today's. It needs import-linter
and mccabe.
"""

from __future__ import annotations

import argparse
import ast
import json
import math
import re
import subprocess
import sys
import tempfile
import tomllib
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from graphlib import CycleError, TopologicalSorter
from itertools import pairwise
from pathlib import Path

import grimp
from mccabe import PathGraphingAstVisitor

PACKAGE = "jfr_mp"
#: The package that may speak MongoDB's dialect.
SPEAKER = "database"
#: Methods of a collection that no other object here has.
METHODS = re.compile(r"(find|insert|update|replace|delete)_(one|many)\w*|aggregate|bulk_write|count_documents")
#: Methods that other objects have, too: these count if they are called on something that is named as a collection is.
AMBIGUOUS = re.compile("distinct|find|watch")
COLLECTIONS = re.compile("(jf_)?auxiliary|batches|collection|flows|jobs|leases|outputs|processes")
#: Further packages that may speak it, with the reason.
EXEMPT: Mapping[str, str] = {"examples": "the quickstart looks at its database from outside, as any program may"}

#: A module or function longer than this, or more complex, should be two.
MODULE_LINES, FUNCTION_LINES, COMPLEXITY = 400, 27, 10

Imports = dict[str, set[str]]


@dataclass(frozen=True, order=True)
class Finding:
    """Something that breaks a rule."""

    file: str
    line: int
    text: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.text}"


@dataclass(frozen=True)
class Figure:
    """A measure of the whole, with the most that it may be."""

    name: str
    value: float
    limit: float | None = None

    @property
    def is_good(self) -> bool:
        """Whether it is within its limit."""
        return self.limit is None or self.value <= self.limit


@dataclass
class Report:
    """What was found in one source tree."""

    findings: list[Finding] = field(default_factory=list)
    #: Module names that several packages have, with these packages; no finding.
    names: dict[str, list[str]] = field(default_factory=dict)
    figures: list[Figure] = field(default_factory=list)

    @property
    def is_good(self) -> bool:
        """Whether every rule is kept."""
        return not self.findings and all(figure.is_good for figure in self.figures)


class Source:
    """The modules of a checkout.

    Parameters
    ----------
    root
        The directory with pyproject.toml and src.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.base = root / "src" / PACKAGE
        self.texts = {path: path.read_text() for path in sorted(self.base.rglob("*.py"))}
        self.trees = {path: ast.parse(text, str(path)) for path, text in self.texts.items()}

    def name(self, path: Path) -> str:
        """Return the path as findings show it."""
        return path.relative_to(self.root).as_posix()

    def layers(self) -> dict[str, int]:
        """Return the height of each package that a contract of import-linter places, the lowest as 0."""
        contracts = tomllib.loads((self.root / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
        lines = next(contract["layers"] for contract in contracts if contract["type"] == "layers")
        return {
            name.strip(" ()"): height
            for height, line in enumerate(reversed(lines))
            for name in line.replace("|", ":").split(":")
        }


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Check the architecture and print its figures.")
    parser.add_argument("--report-only", action="store_true", help="exit with 0 whatever is found")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.add_argument("--base", metavar="REV", help="print the figures of this git revision, too")
    parser.add_argument("--root", type=Path, default=Path(__file__).resolve().parents[1], help="another checkout")
    options = parser.parse_args(argv)
    report = examine(Source(options.root))
    base = _examined_at(options.root, options.base) if options.base else {}
    if options.json:
        print(json.dumps({**asdict(report), "base": base}, indent=2))
    else:
        _show(report, base)
    return 0 if report.is_good or options.report_only else 1


def examine(source: Source) -> Report:
    """Apply all rules to a source tree."""
    imports, layers = _imports(source), source.layers()
    upward = _upward(imports.graph, layers)
    cycles = _cut_cycles(imports.graph, upward)
    findings = {*_dialect(source), *_doubled_classes(source), *(imports.finding(cycle) for cycle in cycles)}
    lengths, complexities = _functions(source)
    names = _doubled_modules(source)
    figures = [
        Figure("modules", len(source.texts)),
        Figure("packages", sum(path.name == "__init__.py" for path in source.texts)),
        Figure("lines", sum(text.count("\n") for text in source.texts.values())),
        Figure("floors: longest import path of packages", _floors(_between_packages(imports.graph))),
        Figure("longest import path of modules", _floors(imports.graph)),
        Figure("import cycles", len(cycles), 0),
        Figure("imports that point up", len(upward), 0),
        Figure(f"modules above {MODULE_LINES} lines", _above(source.texts.values(), MODULE_LINES), 0),
        Figure("functions", len(lengths)),
        Figure("lines of a function, p95", _percentile(lengths, 95), FUNCTION_LINES),
        Figure(f"% of functions with a complexity above {COMPLEXITY}", _share(complexities, COMPLEXITY), 1),
        Figure("module names in several packages", len(names)),
    ]
    return Report(sorted(findings), names, figures)


# MongoDB's dialect


def _dialect(source: Source) -> Iterator[Finding]:
    for path, tree in source.trees.items():
        if path.relative_to(source.base).parts[0] in (SPEAKER, *EXEMPT):
            continue
        for node in ast.walk(tree):
            for line, text in _phrases(node):
                yield Finding(source.name(path), line, f"MongoDB's dialect outside of {SPEAKER}: {text}")


def _phrases(node: ast.AST) -> Iterator[tuple[int, str]]:
    """Return what a node of the syntax tree says in MongoDB's dialect, with its line."""
    match node:
        case ast.Dict(keys=keys):
            for key in keys:
                if isinstance(key, ast.Constant) and isinstance(key.value, str) and _is_operator(key.value):
                    yield key.lineno, key.value
        case ast.Call(func=ast.Attribute(value=receiver, attr=method)):
            name = _last_name(receiver)
            if METHODS.fullmatch(method) or (AMBIGUOUS.fullmatch(method) and COLLECTIONS.fullmatch(name)):
                yield node.lineno, f"{name}.{method}()"


def _is_operator(key: str) -> bool:
    return key[:1] == "$" and key[1:2].isalpha()


def _last_name(node: ast.expr) -> str:
    """Return the name at the end of an expression, such as `jobs` for ``self.db.jobs`` and ``database["jobs"]``."""
    match node:
        case ast.Name(id=name) | ast.Attribute(attr=name) | ast.Subscript(slice=ast.Constant(value=str(name))):
            return name
        case _:
            return "..."


# Imports


@dataclass(frozen=True)
class _ImportGraph:
    graph: Imports
    details: grimp.ImportGraph
    files: Mapping[str, str]

    def finding(self, cycle: Sequence[str]) -> Finding:
        """Say where the import stands that was cut to break a cycle."""
        importer, imported = cycle[0], cycle[1]
        line = self.details.get_import_details(importer=importer, imported=imported)[0]["line_number"]
        return Finding(self.files[importer], line, f"import cycle: {' -> '.join(cycle)}")


def _imports(source: Source) -> _ImportGraph:
    sys.path.insert(0, str(source.base.parent))
    details = grimp.build_graph(PACKAGE, exclude_type_checking_imports=True, cache_dir=None)
    graph = {module: set(details.find_modules_directly_imported_by(module)) for module in details.modules}
    return _ImportGraph(graph, details, {_module(source, path): source.name(path) for path in source.texts})


def _module(source: Source, path: Path) -> str:
    parts = path.relative_to(source.base.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _cut_cycles(graph: Imports, suspects: Collection[tuple[str, str]] = ()) -> list[list[str]]:
    """Remove one import of each cycle from the graph, until there is none; return the cycles, that import first.

    It is one of the suspects if there is one in the cycle.
    """
    cycles: list[list[str]] = []
    while True:
        try:
            # In an order of its own, so that each run names the same cycles.
            TopologicalSorter({module: sorted(graph[module]) for module in sorted(graph)}).prepare()
        except CycleError as error:
            # Each module is imported by the next one.
            cycle = _turned(list(reversed(error.args[1])), suspects)
            graph[cycle[0]].discard(cycle[1])
            cycles.append(cycle)
        else:
            return cycles


def _turned(cycle: list[str], suspects: Collection[tuple[str, str]]) -> list[str]:
    """Return a cycle, whose first and last module are the same, in such a way that it begins with a suspect."""
    start = next((at for at, edge in enumerate(pairwise(cycle)) if edge in suspects), 0)
    return [*cycle[start:-1], *cycle[: start + 1]]


def _floors(graph: Imports) -> int:
    """Return how many modules the longest import path of a graph without cycles has."""
    height: dict[str, int] = {}
    for module in TopologicalSorter(graph).static_order():
        height[module] = 1 + max((height[imported] for imported in graph.get(module, ())), default=0)
    return max(height.values(), default=1)


def _between_packages(graph: Imports) -> Imports:
    """Return which package directly below the root imports which, without cycles."""
    packages: Imports = defaultdict(set)
    for module, all_imported in graph.items():
        for imported in all_imported:
            if PACKAGE not in (module, imported) and _package(module) != _package(imported):
                packages[_package(module)].add(_package(imported))
    _cut_cycles(packages)
    return packages


def _package(module: str) -> str:
    return ".".join(module.split(".")[:2])


def _upward(graph: Imports, layers: Mapping[str, int]) -> list[tuple[str, str]]:
    """Return the imports that point from a lower layer to a higher one."""
    return [
        (module, imported)
        for module, all_imported in graph.items()
        for imported in all_imported
        if layers.get(_package(module), math.inf) < layers.get(_package(imported), -1)
    ]


# Names and sizes


def _doubled_classes(source: Source) -> Iterator[Finding]:
    """Find classes with the same name; one that derives from the other is the same thing with more to it."""
    defined: dict[str, list[tuple[str, int]]] = defaultdict(list)
    for path, tree in source.trees.items():
        for node in tree.body:
            if isinstance(node, ast.ClassDef) and node.name not in map(_last_name, node.bases):
                defined[node.name].append((source.name(path), node.lineno))
    for name, (first, *others) in defined.items():
        for file, line in others:
            yield Finding(file, line, f"class {name} is also defined in {first[0]}:{first[1]}")


def _doubled_modules(source: Source) -> dict[str, list[str]]:
    packages: dict[str, list[str]] = defaultdict(list)
    for path in source.texts:
        if not path.stem.startswith("__"):
            packages[path.stem].append(path.parent.relative_to(source.base).as_posix())
    return {name: places for name, places in sorted(packages.items()) if len(places) > 1}


def _functions(source: Source) -> tuple[list[int], list[int]]:
    """Return the number of lines of each function, and the cyclomatic complexity."""
    lengths: list[int] = []
    complexities: list[int] = []
    for tree in source.trees.values():
        lengths += [
            (node.end_lineno or node.lineno) - node.lineno + 1
            for node in ast.walk(tree)
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        ]
        visitor = PathGraphingAstVisitor()
        visitor.preorder(tree, visitor)
        complexities += [graph.complexity() for graph in visitor.graphs.values()]
    return lengths, complexities


def _percentile(values: Sequence[int], percent: int) -> int:
    return sorted(values)[math.ceil(len(values) * percent / 100) - 1] if values else 0


def _share(values: Sequence[int], limit: int) -> float:
    return round(100 * sum(value > limit for value in values) / max(len(values), 1), 2)


def _above(texts: Iterable[str], limit: int) -> int:
    return sum(text.count("\n") > limit for text in texts)


# Output


def _examined_at(root: Path, revision: str) -> dict[str, float]:
    """Return the figures of a git revision: by another process, for one imports a package once."""
    with tempfile.TemporaryDirectory() as directory:
        archive = ["git", "-C", str(root), "archive", revision, "src", "pyproject.toml"]
        packed = subprocess.run(archive, check=True, stdout=subprocess.PIPE).stdout
        subprocess.run(["tar", "-x", "-C", directory], input=packed, check=True)
        argv = [sys.executable, __file__, "--root", directory, "--json", "--report-only"]
        told = subprocess.run(argv, check=True, stdout=subprocess.PIPE, cwd=directory).stdout
    return {figure["name"]: figure["value"] for figure in json.loads(told)["figures"]}


def _show(report: Report, base: Mapping[str, float]) -> None:
    for finding in report.findings:
        print(finding)
    for name, places in report.names.items():
        print(f"module name in several packages: {name} ({', '.join(places)})")
    width = max(len(figure.name) for figure in report.figures)
    for figure in report.figures:
        then = f"{base.get(figure.name, math.nan):>8g} ->" if base else ""
        limit = "" if figure.limit is None else f"  (at most {figure.limit:g}{'' if figure.is_good else ': TOO MUCH'})"
        print(f"{figure.name:<{width}}{then}{figure.value:>8g}{limit}")
    print(f"{len(report.findings)} findings")


if __name__ == "__main__":
    sys.exit(main())
