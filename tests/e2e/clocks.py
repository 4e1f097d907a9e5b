"""A wall clock of a process's own, which a test sets while the process runs (libfaketime); its steady clock goes on."""

import os
from pathlib import Path

from tests.services import require

FAKED = Path(__file__).parent / "faked_clock"


class WallClock:
    def __init__(self, file: Path) -> None:
        self._file = file
        self._library = require("faketime")
        self.set("+0")

    def set(self, offset: str) -> None:
        """From now on it is off by so much: `+3h`, `-90`."""
        new = self._file.with_suffix(".new")
        new.write_text(f"{offset}\n")
        new.chmod(0o644)
        os.replace(new, self._file)

    @property
    def environ(self) -> dict[str, str]:
        """Of a process that has this clock."""
        faked = {"LD_PRELOAD": self._library, "FAKETIME_TIMESTAMP_FILE": str(self._file), "PYTHONPATH": str(FAKED)}
        return {**os.environ, **faked, "FAKETIME_NO_CACHE": "1", "FAKETIME_DONT_FAKE_MONOTONIC": "1"}
