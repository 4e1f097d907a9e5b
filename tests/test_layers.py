"""The layers of docs/architecture.md: a file imports from its own and from lower ones, in no circle; a plugin imports
only the contract.
"""

import ast
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from tests.architecture_page import layers
from tests.services import ROOT

LAYERS = layers()
CONTRACT = {"jobd.executor", "jobd.hookspecs", "jobd.errors"}
MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted((ROOT / "jobd").rglob("*.py"))
    if "migrations" not in path.parts
}


def imports(path: Path) -> Iterator[str]:
    """Modules of jobd that a file imports, wherever in the file."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path} imports relatively"
            full = [f"{node.module}.{alias.name}" for alias in node.names]
            names = [name if name in MODULES else str(node.module) for name in full]
        else:
            continue
        yield from (name for name in names if name.split(".")[0] == "jobd")


def layer(module: str) -> int:
    """The number of the layer that names the module or, nearest to it, a package that it is in."""
    numbers = {name: number for number, names in enumerate(LAYERS) for name in names}
    parts = module.split(".")
    for length in range(len(parts), 1, -1):
        if (name := ".".join(parts[:length])) in numbers:
            return numbers[name]
    assert module == "jobd", f"{module} stands in no layer"
    return numbers[module]


@pytest.mark.parametrize("module", [name for name in MODULES if not name.startswith("jobd.conformance")])
def test_a_module_imports_only_from_its_own_layer_and_lower_ones(module: str) -> None:
    above = {name for name in imports(MODULES[module]) if layer(name) > layer(module)}
    assert not above


def test_no_module_imports_itself_by_way_of_others() -> None:
    graph = {name: {other for other in imports(path) if other != name} for name, path in MODULES.items()}
    TopologicalSorter(graph).prepare()


def test_no_import_hides_in_a_function() -> None:
    hidden = [
        f"{name}:{inner.lineno}"
        for name, path in MODULES.items()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        for inner in ast.walk(node)
        if isinstance(inner, ast.Import | ast.ImportFrom)
    ]
    assert not hidden


def test_the_shipped_plugins_know_the_contract_and_nothing_else_of_jobd() -> None:
    for path in (ROOT / "plugins").rglob("*.py"):
        assert set(imports(path)) <= CONTRACT, path


def test_the_store_knows_no_http() -> None:
    for path in (ROOT / "jobd" / "store").rglob("*.py"):
        assert "tornado" not in path.read_text(encoding="utf-8")
