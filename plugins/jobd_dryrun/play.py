"""What a run pretends to do, according to its command: how long it takes, what it writes and how it ends.

`sleep N`, `echo WORDS`, `exit N`, `true` and `false` are simulated, also several of them in `sh -c "…; …"`, where `>&2`
sends an echo to stderr. Any other command is only printed.
"""

import re
import shlex
from dataclasses import dataclass

from jobd.executor import RunSpec, Stream


@dataclass(frozen=True)
class Line:
    """Written `after` seconds from the start."""

    after: float
    stream: Stream
    data: bytes


@dataclass(frozen=True)
class Play:
    seconds: float
    exit_code: int
    lines: tuple[Line, ...]


def play(spec: RunSpec, seconds: float, exit_code: int) -> Play:
    """The play for a run; `seconds` and `exit_code` apply if the command does not determine them."""
    return _played(_commands(spec.argv or ())) or Play(seconds, exit_code, (Line(0, "stdout", _description(spec)),))


def _commands(argv: tuple[str, ...]) -> list[list[str]]:
    """The simple commands in argv; empty if it cannot be parsed."""
    if len(argv) != 3 or argv[0].rpartition("/")[2] not in ("sh", "bash") or argv[1] != "-c":
        return [list(argv)]
    try:
        return [shlex.split(part) for part in re.split(r"&&|[;\n]", argv[2]) if part.strip()]
    except ValueError:
        return []


def _played(commands: list[list[str]]) -> Play | None:
    """The play for these commands; None unless all of them can be simulated."""
    elapsed, code = 0.0, 0
    lines: list[Line] = []
    for command in commands:
        match command:
            case ["sleep", length] if re.fullmatch(r"\d+(\.\d+)?", length):
                elapsed, code = elapsed + float(length), 0
            case ["exit", number] if re.fullmatch(r"\d+", number):
                return Play(elapsed, int(number) % 256, tuple(lines))
            case ["true" | "false" as word]:
                code = int(word == "false")
            case ["echo", *words]:
                stream: Stream = "stderr" if ">&2" in words else "stdout"
                text = " ".join(word for word in words if word != ">&2")
                lines.append(Line(elapsed, stream, f"{text}\n".encode()))
                code = 0
            case _:
                return None
    return Play(elapsed, code, tuple(lines)) if commands else None


def _description(spec: RunSpec) -> bytes:
    """What would be run. Has only the names of environment variables, since values may be secret."""
    command = "its own command" if spec.argv is None else shlex.join(spec.argv)
    names = ", ".join(sorted(spec.environment)) or "nothing"
    return f"would run {command} in {spec.image} with {names} in its environment\n".encode()
