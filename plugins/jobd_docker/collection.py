"""Keeps the images of a region below a limit by removing unused ones."""

import logging
import time
from typing import Any

import docker
from docker.errors import APIError

log = logging.getLogger(__name__)


class Collection:
    """Removes images. Knows when each was last used since this process began; Docker does not record that."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._used: dict[str, float] = {}

    def used(self, image: str) -> None:
        """A run was created from the image with this id."""
        self._used[image] = time.monotonic()

    def collect(self, client: docker.APIClient) -> int:
        """Remove images until their sizes, as `docker images` shows them, are within the limit. Returns their number.

        An image that any container uses is never removed. Of the others, those not used since this process began are
        removed first, the oldest first; then the least recently used.
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
    """Remove an image by its names. With several names it could be removed by its id only by force, which would take it
    away from a container that is being created.
    """
    names = [name for name in image["RepoTags"] or [] if name != "<none>:<none>"]
    try:
        for name in names or [image["Id"]]:
            client.remove_image(name)
    except APIError as error:
        log.info("image %s cannot be removed: %s", names or image["Id"], error.explanation)
        return False
    log.info("image %s removed", names or image["Id"])
    return True
