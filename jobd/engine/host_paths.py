"""Paths of a region's host and of the operator's files: in the operator's log, and in no word that a tenant reads.

Engines name them in their errors: sources of mounts, their own folders, the socket where they are asked.
"""

import re
from collections.abc import Collection, Iterable, Mapping

from pydantic import BaseModel

from jobd.config.settings import MountSettings

HIDDEN = "(a path of the host)"
_SOCKET = "its socket"
_ENGINE_FOLDERS = re.compile(
    # Docker's and containerd's own, by default and under any other root, and those that name a container or a layer
    r"(?:unix://)?(?:/(?:var/)?(?:lib|run)/(?:docker|containerd)\b|/[^\s\"',;:]*/overlay2/|/[^\s\"',;:]*/[0-9a-f]{64}\b)"
    r"[^\s\"',;:]*"
)
_REST_OF_PATH = r"(?:/[^\s\"',;:]*)?(?![\w/-])"


class HostPaths:
    """`paths` are those that the operator configured."""

    def __init__(self, paths: Iterable[str] = ()) -> None:
        # The longest first, as one may be inside another. The root alone would be in every path.
        known = sorted({path.rstrip("/") for path in paths} - {""}, key=len, reverse=True)
        alternatives = "|".join(map(re.escape, known))
        self._known = re.compile(rf"(?<![\w/.-])(?:unix://)?(?:{alternatives}){_REST_OF_PATH}") if known else None

    def hidden(self, words: str, own: Collection[str] = ()) -> str:
        """The same words without them; a path in `own` stays, which the tenant has written."""

        def hide(match: re.Match[str]) -> str:
            if match[0] in own:
                return match[0]
            return _SOCKET if match[0].startswith("unix://") else HIDDEN

        words = _ENGINE_FOLDERS.sub(hide, words)
        return self._known.sub(hide, words) if self._known else words


def of_region(options: BaseModel, mounts: Mapping[str, MountSettings]) -> HostPaths:
    """Whatever path an executor's options name, and the sources of all mounts."""
    values = [str(value).removeprefix("unix://") for value in options.model_dump().values()]
    return HostPaths([value for value in values if value.startswith("/")] + [m.source for m in mounts.values()])
