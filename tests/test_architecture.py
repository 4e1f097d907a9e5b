"""docs/architecture.md says what the code is: its layers, walks, states, threads and words."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.architecture_page import PAGE, definitions, diagram, dotted, section, table, words
from tests.services import ROOT

SOURCES = sorted([*(ROOT / "jobd").rglob("*.py"), *(ROOT / "plugins").rglob("*.py")])
WALKS = [
    "From a trigger to the record",
    "From a due slot to a container",
    "From a line of output to its reader",
    "From the end of an exec to a webhook",
]
STARTS_HERE = "*Starts here:*"
STATES = "The states of an exec"
LIVE = ["claimed", "created", "running"]


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def text_of_code() -> str:
    return "\n".join(path.read_text(encoding="utf-8") for path in SOURCES)


def names_in(node: ast.AST) -> Iterator[str]:
    """The names that stand in a piece of code: of variables, attributes, arguments, functions, classes, modules."""
    for inner in ast.walk(node):
        if isinstance(inner, ast.Name):
            yield inner.id
        elif isinstance(inner, ast.Attribute):
            yield inner.attr
        elif isinstance(inner, ast.arg | ast.keyword) and inner.arg is not None:
            yield inner.arg
        elif isinstance(inner, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield inner.name
        elif isinstance(inner, ast.alias):
            yield from (inner.name, inner.asname or "")


def folders_and_modules() -> list[str]:
    return [path for _, where, _ in table("Layers and folders", "layer") for path in words(where)]


def test_each_file_belongs_to_a_row_of_the_layer_table() -> None:
    rows = folders_and_modules()
    folders = {name(path.parent) + "/" for path in SOURCES if path.name != "__init__.py"} - {"jobd/"}
    homeless = [
        name(path)
        for path in SOURCES
        if name(path) not in rows and not any(name(path).startswith(row) for row in rows if row.endswith("/"))
    ]
    assert homeless == []
    own = {row for row in rows if row.endswith("/")}
    unnamed = {folder for folder in folders if folder not in own and not folder.endswith("/migrations/")}
    assert unnamed == set(), "a folder has a row of its own"


def test_what_the_layer_table_names_is_there() -> None:
    for _, where, what in table("Layers and folders", "layer"):
        for path in words(where):
            assert (ROOT / path).exists(), path
        (folder, *_) = words(where)
        inside = [file for file in words(what) if re.fullmatch(r"[a-z_0-9]+(\.py|/)", file)]
        lacking = [file for file in inside if not (ROOT / folder / file).exists()]
        assert lacking == [], f"{folder} has no {lacking}"


def test_each_path_on_the_page_is_there() -> None:
    paths = re.findall(r"`((?:jobd|plugins|tests|script|conf|docs)/[^`\s]*)`", PAGE.read_text(encoding="utf-8"))
    coming = {"jobd/console/"}
    assert [path for path in paths if path not in coming and not (ROOT / path).exists()] == []
    assert [path for path in coming if (ROOT / path).exists()] == [], "it is no longer to come: say so on the page"


def steps(walk: str) -> list[tuple[str, str, bool]]:
    """The file and the name of each step of a walk, and whether it starts there."""
    found = []
    for where, what in table(walk, "where"):
        path, *symbols = words(where)
        assert symbols, f"{walk}: {where} names no function"
        found += [(path, symbol, number == 0 and what.startswith(STARTS_HERE)) for number, symbol in enumerate(symbols)]
    return found


@pytest.mark.parametrize("walk", WALKS)
def test_each_step_of_a_walk_is_there_and_called_by_one_above_it(walk: str) -> None:
    known: set[str] = set()
    for path, symbol, starts_here in steps(walk):
        assert (ROOT / path).is_file(), f"{walk}: no file {path}"
        defined = definitions(ROOT / path)
        assert symbol in defined, f"{walk}: {path} has no {symbol}"
        is_called = symbol.split(".")[-1] in known
        assert starts_here or is_called, f"{walk}: no step above calls {path} {symbol}"
        names = set(names_in(defined[symbol]))
        known |= names
        for constant in names & defined.keys():
            if isinstance(defined[constant], ast.Assign):
                known |= set(names_in(defined[constant]))


def edges() -> set[tuple[str, str]]:
    """What the table of transitions says, with every pair of states."""
    found = set()
    for sources, targets, _, _ in table(STATES, "from"):
        for source in sources.split(", "):
            for target in [source] if targets == "the same" else targets.split(", "):
                found.add((source or "[*]", target))
    return found


def test_the_diagram_shows_the_transitions_of_the_table() -> None:
    assert set(re.findall(r"^ +(\S+) --> (\S+)$", diagram(STATES), re.MULTILINE)) == edges()


def transition_functions() -> set[str]:
    """`module.function` of each row of the table."""
    return {function for _, _, by, _ in table(STATES, "from") for function in words(by)}


PRIMITIVES = {"change", "end_all", "_apply", "_apply_all", "_changed", "_take"}
"""What the functions that change an exec's state do it with."""
CHEAPER = {
    "transitions.set_handles",
    "transitions.set_running_without_subscribers",
    "transitions.set_all_running",
    "transitions.end_without_subscribers",
    "transitions.end_all_without_subscribers",
}
"""The same as another one, which the table has."""


def test_each_function_that_changes_the_state_of_an_exec_is_in_the_table() -> None:
    changing = set()
    for path in sorted((ROOT / "jobd" / "store").rglob("*.py")):
        for symbol, node in definitions(path).items():
            is_function = isinstance(node, ast.FunctionDef) and "." not in symbol
            if is_function and symbol not in PRIMITIVES and _changes_state(node):
                changing.add(f"{path.stem}.{symbol}")
    assert changing - CHEAPER <= transition_functions()
    assert changing >= CHEAPER, "this test names a function that is gone"


def _changes_state(function: ast.AST) -> bool:
    for node in ast.walk(function):
        if not isinstance(node, ast.Call):
            continue
        called = ast.unparse(node.func).removeprefix("transitions.").removeprefix("execs.")
        values = {keyword.arg for keyword in node.keywords}
        if called in PRIMITIVES or (called == "Exec.update" and values & {"status", "owner", "handle"}):
            return True
        if called == "sql.take" and ast.unparse(node.args[0]) == "Exec":
            return True
    return False


def test_each_thread_is_in_the_table() -> None:
    listed = [thread for names, _, _ in table("Threads", "thread") for thread in words(names)]
    made = set(_thread_names())
    assert [pattern for pattern in made if not any(re.fullmatch(pattern, thread) for thread in listed)] == []
    assert [thread for thread in listed if not any(re.fullmatch(pattern, thread) for pattern in made)] == []


def _thread_names() -> Iterator[str]:
    """Patterns of the names that threads are given."""
    makers = {"Threads", "ThreadPoolExecutor", "Thread", "SlowWork", "run"}
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not (isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] in makers):
                continue
            for value in [*node.args, *(keyword.value for keyword in node.keywords)]:
                pattern = _pattern(value)
                if pattern.startswith("jobd-"):
                    yield pattern


def _pattern(value: ast.expr) -> str:
    if isinstance(value, ast.Constant) and isinstance(value.value, str):
        return re.escape(value.value).replace(r"\-", "-")
    if isinstance(value, ast.JoinedStr):
        return "".join(_pattern(part) if isinstance(part, ast.Constant) else "[A-Za-z]+" for part in value.values)
    return ""


def test_each_word_of_the_glossary_is_a_word_of_the_code() -> None:
    code = text_of_code().lower()
    entries = [word for word, _ in table("Glossary", "word")]
    assert entries == sorted(entries, key=str.lower) and len(set(entries)) == len(entries)
    unused = [word for word in entries if not re.search(rf"(?<![a-z]){word.replace(' ', '[ _]')}", code)]
    assert unused == []


def test_no_name_is_a_word_that_the_glossary_bans() -> None:
    banned = [word for not_this, _ in table("Glossary", "not") for word in words(not_this)]
    bad = []
    for path in SOURCES:
        for used in {*names_in(ast.parse(path.read_text(encoding="utf-8"))), path.stem}:
            if any(_has(used, word) for word in banned):
                bad.append(f"{name(path)}: {used}")
    assert bad == []


def _has(used: str, word: str) -> bool:
    """Whether a name has this word in it or, of one like `MOST_`, begins with it."""
    if word.isupper():
        return used.lstrip("_").startswith(word)
    parts = re.sub(r"([a-z0-9])([A-Z])", r"\1_\2", used).lower().split("_")
    return any(parts[start : start + word.count("_") + 1] == word.split("_") for start in range(len(parts)))


def test_the_modules_that_the_page_names_without_their_folders_are_there() -> None:
    stems = {path.name for path in SOURCES}
    named = set(re.findall(r"`([a-z_0-9]+\.py)`", PAGE.read_text(encoding="utf-8")))
    assert named - stems == set()
    assert {dotted(path) for path in folders_and_modules()} >= {"jobd.store.queue", "jobd.engine"}
    assert section("In short")
