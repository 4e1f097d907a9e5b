"""The connection to a Docker engine, and the meaning of its errors."""

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager

import docker
import requests
import urllib3
from docker.errors import APIError, DockerException

from jobd.errors import ExecutorError, RegionUnavailable

log = logging.getLogger(__name__)

POOL_SIZE = 32
"""Connections kept open: as many as jobd has threads for one region."""
TIMEOUT = 60
"""Seconds without a byte of a response; streams and stops have timeouts of their own."""


def connect(base_url: str, timeout: int = TIMEOUT) -> docker.APIClient:
    """A client with the engine's own API version, which is requested first. Raises DockerException."""
    client = docker.APIClient(base_url, version="auto", timeout=timeout, max_pool_size=POOL_SIZE)
    # Use no proxies and credentials of the daemon's environment.
    client.trust_env = False
    return client


def url(client: docker.APIClient, path: str) -> str:
    """The address of an endpoint, for requests that docker-py has no method for."""
    return f"{client.base_url}/v{client.api_version}{path}"


@contextmanager
def translated(place: str, unexpected: type[ExecutorError] = RegionUnavailable) -> Iterator[None]:
    """Raise `unexpected` for errors that the engine returns, and RegionUnavailable if the engine cannot be reached.

    A caller that knows the meaning of an error catches docker's `APIError` inside. `place` is the engine's address.
    """
    try:
        yield
    except APIError as error:
        words = error.explanation or str(error)
        if _HALF_AWAY.search(words):
            raise RegionUnavailable(f"Docker at {place} is not ready: {words}") from error
        log.info("Docker at %s: %s", place, words)
        raise unexpected(readable(words)) from error
    except (requests.RequestException, urllib3.exceptions.HTTPError, DockerException, OSError) as error:
        raise RegionUnavailable(f"Docker at {place} cannot be reached: {_cause(error)}") from error


_HALF_AWAY = re.compile(r"containerd\.sock|transport is closing|is shutting down")
"""Errors of an engine that lost its containerd or is stopping: a container may have been started all the same."""
_RUNTIME = re.compile(
    r"^.*(?:container process caused|unable to start container process|container init caused"
    r"|error during container init"
    r"|runc create failed|OCI runtime create failed|failed to create (?:shim|task)(?: task)?(?: for container)?): ",
    re.DOTALL,
)
_SOURCE_LINE = re.compile(r"\b\w+\.go:\d+: ")
_UNKNOWN = re.compile(r": unknown(?=:|\.?$)\.?")
"""containerd's text for an unknown kind of error; Docker puts it at the end, or before its own message."""
_EXEC = re.compile(r'^exec: "([^"]+)": (?:stat \S+: )?(.*)$', re.DOTALL)
_IS_FOLDER = re.compile(r": is a directory: permission denied$")
_ADVICE = re.compile(r": Are you trying to mount a directory onto a file.*$", re.DOTALL)
_MOUNT = re.compile(r'^(?:error )?mounting ".*?" to rootfs at "(.*?)"(?::| caused:) (?:.*: )?(.*)$', re.DOTALL)
_NOT_MOUNTED = re.compile(r'^"[^"]*" ')
_NO_SOURCE = re.compile(r"^invalid mount config for type .*: bind source path does not exist: .*$", re.DOTALL)


def readable(words: str) -> str:
    """The engine's message without the chain of functions that failed and without the source of a mount, such as
    `/bin: permission denied`, or with newer engines `/bin: is a directory`.
    """
    words = _SOURCE_LINE.sub("", _RUNTIME.sub("", words)).strip()
    words = _ADVICE.sub("", _UNKNOWN.sub("", words))
    if _NO_SOURCE.match(words):
        return "the source of a mount does not exist on the region's host"
    mount = _MOUNT.match(words)
    if mount:
        return f"nothing can be mounted at {mount[1]}: {_NOT_MOUNTED.sub('it ', mount[2])}"
    return _IS_FOLDER.sub(": is a directory", _EXEC.sub(r"\1: \2", words)) or "Docker gave no reason"


def _cause(error: BaseException) -> str:
    """The operating system's message, which the libraries wrap several times."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, OSError) and seen.strerror:
            return seen.strerror
        if isinstance(seen, TimeoutError | requests.Timeout):
            return "it does not answer in time"
        seen = seen.__cause__ or seen.__context__
    return str(error)
