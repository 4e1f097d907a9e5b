"""The shell examples of the manual: the fenced blocks of its pages, and what each says of how it is tested.

In the line above a `bash` or `console` block stands one of

    <!-- runs -->                  tests/test_docs_shell.py runs it, with the page's others, in order, in one shell
    <!-- runs in tests/… -->       that test runs it
    <!-- not run: why -->          nothing does

or, once a page, `<!-- shell examples run in tests/… -->` for all of it.
"""

import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tests.services import ROOT

ORIGINAL = ROOT / "docs" / "jobs.zh.md"
"""The original service's own page, kept as it is."""
PAGES = sorted({*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")} - {ORIGINAL})
SHELLS = ("bash", "console")

FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
MARKER = re.compile(r"<!-- (runs|runs in (?P<test>tests/\S+)|not run: (?P<why>.{8,}?)) -->\n\Z")
WHOLE_PAGE = re.compile(r"^<!-- shell examples run in (tests/\S+) -->$", re.MULTILINE)


@dataclass(frozen=True)
class Block:
    """`runs` by tests/test_docs_shell.py, in the `test` of that path, or not for a reason: `why`. `heading` is the
    nearest above it.
    """

    page: Path
    line: int
    heading: str
    language: str
    text: str
    runs: bool = False
    test: str | None = None
    why: str | None = None

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"

    @property
    def commands(self) -> str:
        """A script: of a `console` block, what stands behind the prompts, with the lines that go on with it."""
        return self.text if self.language == "bash" else "".join(f"{command}\n" for command in self._dialogue()[0])

    @property
    def output(self) -> list[str]:
        """The lines that a `console` block shows as answers."""
        return [] if self.language == "bash" else self._dialogue()[1]

    def _dialogue(self) -> tuple[list[str], list[str]]:
        commands: list[str] = []
        answers: list[str] = []
        for line in self.text.splitlines():
            if commands and _goes_on(commands[-1]):
                commands[-1] += f"\n{line}"
            elif line.startswith("$ "):
                commands.append(line.removeprefix("$ "))
            else:
                answers.append(line)
        return commands, answers


def _goes_on(command: str) -> bool:
    """Whether the next line still belongs to it: a quote is open, or it ends with a backslash."""
    try:
        shlex.split(command)
    except ValueError:
        return True
    return False


def blocks(page: Path) -> list[Block]:
    """The fenced blocks of a page, in order."""
    text = page.read_text(encoding="utf-8")
    everywhere = WHOLE_PAGE.search(text)
    found = []
    for fence in FENCE.finditer(text):
        marker = MARKER.search(text, 0, fence.start())
        said = {"runs": marker[1] == "runs", "test": marker["test"], "why": marker["why"]} if marker else {}
        if not marker and everywhere:
            said = {"test": everywhere[1]}
        line = text.count("\n", 0, fence.start()) + 1
        headings = re.findall(r"^#+ (.+)$", FENCE.sub("", text[: fence.start()]), re.MULTILINE)
        found.append(Block(page, line, headings[-1] if headings else "", fence[1], fence[2], **said))
    return found


def shell_blocks() -> list[Block]:
    return [block for page in PAGES for block in blocks(page) if block.language in SHELLS]


def run(marked: Iterable[Block], shell: Mapping[str, str], cwd: Path = ROOT, **instead: str) -> str:
    """What these blocks print, in one shell; it is asserted that all succeeds and that what they show comes. `instead`
    holds what stands for the words of the page that this machine has no place for.
    """
    script = "set -euo pipefail\n" + "".join(block.commands for block in marked)
    for word, place in instead.items():
        assert word in script, f"no block says {word}"
        script = script.replace(word, place)
    ran = _in_session(["bash", "-c", script], shell, cwd)
    assert ran.returncode == 0, f"{script}\n{ran.stdout}\n{ran.stderr}"
    for block in marked:
        for line in block.output:
            shown = ".*".join(map(re.escape, line.split("…")))
            assert re.search(f"^{shown}$", ran.stdout, re.MULTILINE), f"{block}: no {line!r} in\n{ran.stdout}"
    return ran.stdout


def _in_session(command: list[str], shell: Mapping[str, str], cwd: Path) -> subprocess.CompletedProcess[str]:
    """A command that leaves nothing running behind it, however it ends."""
    pipe = subprocess.PIPE
    process = subprocess.Popen(command, env=shell, cwd=cwd, stdout=pipe, stderr=pipe, text=True, start_new_session=True)
    try:
        out, err = process.communicate(timeout=120)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        out, err = process.communicate()
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
    return subprocess.CompletedProcess(command, process.returncode, out, err)


def installed(folder: Path, **programs: str) -> dict[str, str]:
    """The environment of a reader who has installed jobd: it is on the PATH, and the home folder is empty. `programs`
    are scripts that stand in for what only a real machine has.
    """
    bin, home = folder / "bin", folder / "home"
    home.mkdir()
    bin.mkdir()
    for name, script in {"jobd": f'exec "{sys.executable}" -m jobd "$@"', **programs}.items():
        (bin / name).write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
        (bin / name).chmod(0o755)
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("JOBD")}
    return {
        **inherited,
        "PATH": os.pathsep.join([str(bin), str(Path(sys.executable).parent), os.environ["PATH"]]),
        "HOME": str(home),
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "plugins"), os.environ.get("PYTHONPATH", "")]),
    }
