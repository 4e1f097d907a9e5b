"""The INI keys of a region whose runs are Docker containers."""

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from jobd.executor import Options

JOBD_NETWORK = "jobd"
ROOT_SCRIPT_CAPABILITIES = ("CHOWN", "DAC_OVERRIDE", "FOWNER", "SETUID", "SETGID", "KILL")
"""What a script needs that runs as root and changes users or files; nothing that reaches beyond its container."""


def _capabilities(value: object) -> object:
    """`chown, kill` or its words -> `CHOWN`, `KILL`; `none` -> none at all, for an empty key means the default."""
    words = re.findall(r"[^\s,]+", value) if isinstance(value, str) else value
    if not isinstance(words, list | tuple):
        return value
    names = tuple(str(word).upper() for word in words)
    return () if names == ("NONE",) else names


def _unix_socket(value: str) -> str:
    if not re.fullmatch(r"unix:///\S+", value):
        raise ValueError("is no unix:///path of a socket; Docker over TCP is not supported: use docker-ssh")
    return value


def _bytes(value: object) -> object:
    """`20GB`, `500 MB` -> bytes; 1 GB is 2**30; `none` -> None."""
    if value == "none":
        return None
    match = re.fullmatch(r"(\d{1,9})\s*(MB|GB|TB)", value, re.IGNORECASE) if isinstance(value, str) else None
    if isinstance(value, str) and not match:
        raise ValueError(f"`{value}` is no size; right: a number with MB, GB or TB, as in 20GB, or none")
    return int(match[1]) * {"MB": 2**20, "GB": 2**30, "TB": 2**40}[match[2].upper()] if match else value


def _init(value: object) -> object:
    """`yes` and `no` as an INI file may say them; any other word stays."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    word = value.strip().lower() if isinstance(value, str) else value
    return {"true": "yes", "on": "yes", "1": "yes", "false": "no", "off": "no", "0": "no"}.get(str(word), word)


Init = Literal["yes", "no", "group"]
Capability = Annotated[str, Field(pattern=r"^[A-Z_]+$")]


class ContainerOptions(Options):
    """What the operator decides of every container of a region."""

    network: str = Field(JOBD_NETWORK, min_length=1)
    """A Docker network, or `none`. The default is a bridge of jobd's own without traffic between its containers;
    it is made when it is absent. Any other must exist."""
    pids_limit: int = Field(512, ge=1)
    """Processes and threads that a run may have at once."""
    cap_add: Annotated[tuple[Capability, ...], BeforeValidator(_capabilities)] = ROOT_SCRIPT_CAPABILITIES
    """Linux capabilities that a run keeps; all others are dropped."""
    read_only: bool = False
    """Whether the container's own file system is read-only."""
    image_disk: Annotated[int | None, BeforeValidator(_bytes)] = None
    """Bytes that the engine's images may take; above it, unused ones are removed. None: none is ever removed."""
    init: Annotated[Init, BeforeValidator(_init)] = "yes"
    """Whether an init process runs the command: with it SIGTERM ends a shell. Without it a command that cannot be
    executed fails to start, instead of ending with 126 or 127. `group`: the init passes signals on to the command's
    whole process group, and not to the command alone."""


class DockerOptions(ContainerOptions):
    socket: Annotated[str, AfterValidator(_unix_socket)] = "unix:///var/run/docker.sock"
