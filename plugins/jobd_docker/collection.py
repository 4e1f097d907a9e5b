"""Keeping the images of a region below a limit, by removing those that nothing uses."""

import logging
import time
from typing import Any

import docker
from docker.errors import APIError

log = logging.getLogger(__name__)


class Collection:
    """Knows which images runs were created from since this process began; older uses Docker does not tell."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._used: dict[str, float] = {}

    def used(self, image: str) -> None:
        """A run was created from the image of this id."""
        self._used[image] = time.monotonic()

    def collect(self, client: docker.APIClient) -> int:
        """Remove images until their sizes, as `docker images` shows them, are within the limit; how many went.

        An image that a container of anybody's stands on is never removed. Of the others, those go first that were not
        used since this process began, the oldest of them first; then those whose use is longest ago.
        """
        images = client.images()
        size = sum(image["Size"] for image in images)
        if size <= self._limit:
            return 0
        busy = {container["ImageID"] for container in client.containers(all=True)}
        removed = 0
        for image in sorted(images, key=self._keeping_order):
            if size <= self._limit:
                break
            if image["Id"] not in busy and _remove(client, image):
                removed += 1
                size -= image["Size"]
        self._used = {image["Id"]: self._used[image["Id"]] for image in images if image["Id"] in self._used}
        return removed

    def _keeping_order(self, image: dict[str, Any]) -> tuple[float, int]:
        return self._used.get(image["Id"], float("-inf")), image["Created"]


def _remove(client: docker.APIClient, image: dict[str, Any]) -> bool:
    """By its names, as an image of several cannot be removed by its id without force, which would take it from a
    container that is being created.
    """
    names = [name for name in image["RepoTags"] or [] if name != "<none>:<none>"]
    try:
        for name in names or [image["Id"]]:
            client.remove_image(name)
    except APIError as error:
        log.info("image %s stays: %s", names or image["Id"], error.explanation)
        return False
    log.info("image %s removed", names or image["Id"])
    return True
