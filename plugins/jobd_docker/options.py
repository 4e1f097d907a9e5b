"""The INI keys of a region whose runs are Docker containers."""

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from jobd.executor import Options

JOBD_NETWORK = "jobd"
ROOT_SCRIPT_CAPABILITIES = ("CHOWN", "DAC_OVERRIDE", "FOWNER", "SETUID", "SETGID", "KILL")
"""What scripts need that run as root and change users or files; nothing that affects more than the container."""


def _capabilities(value: object) -> object:
    """Converts `chown, kill` or a list of these to `CHOWN`, `KILL`. `none` is an empty list, since an empty key is the
    default.
    """
    words = re.findall(r"[^\s,]+", value) if isinstance(value, str) else value
    if not isinstance(words, list | tuple):
        return value
    names = tuple(str(word).upper() for word in words)
    return () if names == ("NONE",) else names


def _unix_socket(value: str) -> str:
    if not re.fullmatch(r"unix:///\S+", value):
        raise ValueError("is not the unix:///path of a socket; Docker over TCP is not supported: use docker-ssh")
    return value


def _bytes(value: object) -> object:
    """Converts `20GB` or `500 MB` to bytes, 1 GB being 2**30, and `none` to None."""
    if value == "none":
        return None
    match = re.fullmatch(r"(\d{1,9})\s*(MB|GB|TB)", value, re.IGNORECASE) if isinstance(value, str) else None
    if isinstance(value, str) and not match:
        raise ValueError(f"`{value}` is not a size; expected a number with MB, GB or TB, as in 20GB, or none")
    return int(match[1]) * {"MB": 2**20, "GB": 2**30, "TB": 2**40}[match[2].upper()] if match else value


def _init(value: object) -> object:
    """Converts the INI file's words for yes and no; returns any other word unchanged."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    word = value.strip().lower() if isinstance(value, str) else value
    return {"true": "yes", "on": "yes", "1": "yes", "false": "no", "off": "no", "0": "no"}.get(str(word), word)


Init = Literal["yes", "no", "group"]
Capability = Annotated[str, Field(pattern=r"^[A-Z_]+$")]


class ContainerOptions(Options):
    """The operator's settings for all containers of a region."""

    network: str = Field(JOBD_NETWORK, min_length=1)
    """A Docker network, or `none`. The default is jobd's own bridge, without traffic between its containers, which is
    created if it does not exist. Any other must exist."""
    pids_limit: int = Field(512, ge=1)
    """Processes and threads that a run may have at once."""
    cap_add: Annotated[tuple[Capability, ...], BeforeValidator(_capabilities)] = ROOT_SCRIPT_CAPABILITIES
    """Linux capabilities that a run keeps; all others are dropped."""
    read_only: bool = False
    """Whether the container's own file system is read-only."""
    image_disk: Annotated[int | None, BeforeValidator(_bytes)] = None
    """Bytes that the engine's images may take; above that, unused ones are removed. With None, none is removed."""
    init: Annotated[Init, BeforeValidator(_init)] = "yes"
    """Whether an init process runs the command, so that SIGTERM ends a shell. Without it, a command that cannot be
    executed fails to start instead of ending with 126 or 127. With `group`, the init passes signals to the command's
    whole process group and not only to the command."""


class DockerOptions(ContainerOptions):
    socket: Annotated[str, AfterValidator(_unix_socket)] = "unix:///var/run/docker.sock"
