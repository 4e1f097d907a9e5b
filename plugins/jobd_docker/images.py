"""Pulls images, and finds out why a pull failed, which only the text of Docker's message says."""

import json
import re
import time
from typing import Any

import docker
from docker.auth import encode_header
from docker.errors import APIError
from docker.utils import parse_repository_tag

from jobd.errors import ExecutorError, ImageNotFound, ImagePullFailed
from jobd.executor import RegistryAuth, RunSpec
from jobd_docker.client import readable, url

SILENCE = 600
"""Seconds that a pull may go on without a message."""
DIGEST_KEPT = 1.0
"""Seconds for which an image's id is cached, so that a burst of runs requests it once."""

_NOT_FOUND = re.compile(r"manifest unknown|name unknown|not found|no matching manifest|does not match the specified")
_DENIED = re.compile(r"pull access denied|requested access to the resource is denied")
_UNAUTHORIZED = re.compile(r"unauthorized|authentication required|no basic auth credentials|(?<![:\d])401\b")
_UNREACHABLE = re.compile(
    r"dial tcp|no such host|connection refused|timeout|timed out|request canceled|network is unreachable|EOF|no route"
)


def pull(client: docker.APIClient, spec: RunSpec) -> None:
    """Pull a run's image. Raises ImageNotFound, ImagePullFailed, and errors of `requests` if the engine disconnects."""
    if spec.pull_policy == "never":
        raise ImageNotFound(f"{spec.image} is not in the region, and its pull policy is `never`")
    repository, tag = parse_repository_tag(spec.image)
    auth = spec.registry_auth
    credentials = {"username": auth.username, "password": auth.password} if auth else {}
    with client.post(
        url(client, "/images/create"),
        params={"fromImage": repository, "tag": tag or "latest"},
        headers={"X-Registry-Auth": encode_header(credentials)},
        stream=True,
        timeout=SILENCE,
    ) as response:
        if not response.ok:
            raise failure(spec.image, _message(response.text), auth)
        for line in response.iter_lines():
            progress: dict[str, Any] = json.loads(line) if line else {}
            if "error" in progress:
                raise failure(spec.image, progress["error"], auth)


def failure(image: str, words: str, auth: RegistryAuth | None) -> ExecutorError:
    """The error for Docker's message about a failed pull."""
    words = readable(words)
    if re.search("invalid (?:reference|tag) format", words):
        return ImageNotFound(f"{image} is not a valid image name: {words}")
    if _UNAUTHORIZED.search(words):
        if auth is None:
            return ImagePullFailed(f"{image}: its registry wants credentials, and there are none for it: {words}")
        return ImagePullFailed(f"{image}: its registry refuses the credentials of {auth.username}: {words}")
    if _DENIED.search(words):
        return ImageNotFound(f"{image} does not exist, or its registry wants other credentials: {words}")
    # Checked before "not found", which may also be a resolver's message about a host.
    if _UNREACHABLE.search(words):
        return ImagePullFailed(f"{image}: its registry cannot be reached: {words}")
    if _NOT_FOUND.search(words):
        return ImageNotFound(f"{image} is not in its registry: {words}")
    return ImagePullFailed(f"{image}: {words}")


class Digests:
    """The ids of images that runs are created from."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[float, str]] = {}

    def of(self, client: docker.APIClient, image: str) -> str | None:
        """The digest in the image's name, else its id, at most `DIGEST_KEPT` old; None if it was just removed."""
        _, at, digest = image.partition("@")
        if at:
            return digest
        asked_at, known = self._known.get(image, (float("-inf"), ""))
        if time.monotonic() - asked_at < DIGEST_KEPT:
            return known
        try:
            known = client.inspect_image(image)["Id"]
        except APIError:
            # The run has been created all the same.
            return None
        self._known[image] = time.monotonic(), known
        return known


def _message(body: str) -> str:
    try:
        return json.loads(body)["message"]
    except (ValueError, KeyError, TypeError):
        return body.strip()
