"""docs/architecture.md as tests read it: its tables, by the heading above them."""

import ast
import re
from functools import cache
from pathlib import Path

from tests.services import ROOT
from tests.shell_examples import FENCE

PAGE = ROOT / "docs" / "architecture.md"
CODE = re.compile(r"`([^`]+)`")


def section(heading: str) -> str:
    """The text below a heading, up to the next one."""
    text = PAGE.read_text(encoding="utf-8")
    match = re.search(rf"^## {re.escape(heading)}\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    assert match is not None, f"docs/architecture.md has no heading {heading!r}"
    return match[1]


def table(heading: str, first_column: str) -> list[list[str]]:
    """The rows below the head of the table in a section whose first column has this name; "" is a name, too."""
    lines = iter(section(heading).splitlines())
    for line in lines:
        if line.startswith("| ") and _cells(line)[0] == first_column:
            next(lines)
            break
    else:
        raise AssertionError(f"docs/architecture.md, {heading!r}: no table that begins with {first_column!r}")
    rows = []
    for line in lines:
        if not line.startswith("|"):
            break
        rows.append(_cells(line))
    return rows


def words(cell: str) -> list[str]:
    """What is set as code in a cell."""
    return CODE.findall(cell)


def diagram(heading: str) -> str:
    """The Mermaid diagram of a section."""
    (text,) = (match[2] for match in FENCE.finditer(section(heading)) if match[1] == "mermaid")
    return text


def _cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip().removeprefix("|").removesuffix("|").split(" | ")]


Layers = list[set[str]]


def layers() -> Layers:
    """The modules and packages of each layer, dotted; the lowest first."""
    found: dict[int, set[str]] = {}
    for layer, where, _ in table("Layers and folders", "layer"):
        if layer.isdecimal():
            found.setdefault(int(layer), set()).update(map(dotted, words(where)))
    assert sorted(found) == list(range(len(found))), "a layer's number is left out"
    return [found[number] for number in sorted(found)]


def dotted(path: str) -> str:
    """`jobd/store/db/` or `jobd/errors.py` as a module's name."""
    return path.removesuffix("/").removesuffix(".py").removesuffix("/__init__").replace("/", ".")


@cache
def definitions(path: Path) -> dict[str, ast.AST]:
    """What a module defines: functions, classes, methods as `Class.method`, and names that are assigned."""
    return dict(_definitions(ast.parse(path.read_text(encoding="utf-8")).body, ""))


def _definitions(body: list[ast.stmt], prefix: str) -> list[tuple[str, ast.AST]]:
    found: list[tuple[str, ast.AST]] = []
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found.append((f"{prefix}{node.name}", node))
        if isinstance(node, ast.ClassDef):
            found += _definitions(node.body, f"{prefix}{node.name}.")
        targets = (
            node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
        )
        found += [(f"{prefix}{target.id}", node) for target in targets if isinstance(target, ast.Name)]
    return found
