"""Hides paths of a region's host and of the operator's files from tenants; the operator's log keeps them.

Engines name such paths in their errors: sources of mounts, folders of their own, the socket where they listen.
"""

import re
from collections.abc import Collection, Iterable, Mapping

from pydantic import BaseModel

from jobd.config.settings import MountSettings

HIDDEN = "(a path of the host)"
_SOCKET = "its socket"
_ENGINE_FOLDERS = re.compile(
    # folders of Docker and containerd, in the default place and under any other root, and those named after a container
    # or a layer
    r"(?:unix://)?(?:/(?:var/)?(?:lib|run)/(?:docker|containerd)\b|/[^\s\"',;:]*/overlay2/|/[^\s\"',;:]*/[0-9a-f]{64}\b)"
    r"[^\s\"',;:]*"
)
_REST_OF_PATH = r"(?:/[^\s\"',;:]*)?(?![\w/-])"


class HostPaths:
    """`paths` are those that the operator configured."""

    def __init__(self, paths: Iterable[str] = ()) -> None:
        # The longest first, since one may be inside another. The root alone would be in every path.
        known = sorted({path.rstrip("/") for path in paths} - {""}, key=len, reverse=True)
        alternatives = "|".join(map(re.escape, known))
        self._known = re.compile(rf"(?<![\w/.-])(?:unix://)?(?:{alternatives}){_REST_OF_PATH}") if known else None

    def hidden(self, words: str, own: Collection[str] = ()) -> str:
        """The same words without these paths; a path in `own`, which the tenant wrote, stays."""

        def hide(match: re.Match[str]) -> str:
            if match[0] in own:
                return match[0]
            return _SOCKET if match[0].startswith("unix://") else HIDDEN

        words = _ENGINE_FOLDERS.sub(hide, words)
        return self._known.sub(hide, words) if self._known else words


def of_region(options: BaseModel, mounts: Mapping[str, MountSettings]) -> HostPaths:
    """The paths that an executor's options name, and the sources of all mounts."""
    values = [str(value).removeprefix("unix://") for value in options.model_dump().values()]
    return HostPaths([value for value in values if value.startswith("/")] + [m.source for m in mounts.values()])
