"""Two daemons on one PostgreSQL and one Docker, each of which can be struck down, or put to sleep, at a named point."""

import os
import signal
from pathlib import Path
from typing import Any

import docker
import requests

from tests.e2e.clocks import WallClock
from tests.e2e.daemon import Daemon
from tests.e2e.ledger import Ledger
from tests.e2e.strikes import VARIABLE

LEASE = 2
OUTPUT = b"".join(b"%d\n" % number for number in range(1, 2001))
BODY = "seq 1 2000"


class StruckDaemon(Daemon):
    module = "tests.e2e.strikes"

    def __init__(
        self, folder: Path, settings: dict[str, str], environ: dict[str, str], clock: WallClock | None
    ) -> None:
        super().__init__(folder, settings, {**environ, **(clock.environ if clock else {})})
        self.clock = clock

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    @property
    def is_asleep(self) -> bool:
        """Whether a signal has stopped it, all threads of it."""
        return Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"

    @property
    def is_dead(self) -> bool:
        return self.process is None or self.process.poll() is not None

    def send(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)


class Pair:
    """`daemons` serve the same region; `settings` are more sections of both their INI files; `with_clocks` gives each a
    wall clock that can be set.
    """

    def __init__(
        self,
        folder: Path,
        database: str,
        socket: str,
        image: str,
        settings: dict[str, str],
        with_clocks: bool = False,
    ) -> None:
        self.ledger = Ledger(folder / "ledger")
        self.image = image
        self.socket = socket
        self._strike = folder / "strike"
        region = f"executor = docker\nsocket = {socket}\nnetwork = none"
        sections = {"database": f"url = {database}", "region:BEIJING1": region, **self.ledger.section, **settings}
        environ = {**os.environ, VARIABLE: str(self._strike)}
        self.daemons = []
        for name in ("one", "two"):
            (folder / name).mkdir()
            clock = WallClock(folder / f"{name}.clock") if with_clocks else None
            self.daemons.append(StruckDaemon(folder / name, sections, environ, clock))
        self.token: str | None = None

    def start(self) -> "Pair":
        for daemon in self.daemons:
            self.start_one(daemon)
        return self

    def start_one(self, daemon: StruckDaemon) -> None:
        # The first start of all has written the one token there is.
        if self.token is not None:
            (daemon.folder / "var").mkdir(exist_ok=True)
            (daemon.folder / "var" / "admin.token").write_text(self.token)
        daemon.start()
        self.token = daemon.token

    def stop(self) -> None:
        for daemon in self.daemons:
            if not daemon.is_dead:
                daemon.send(signal.SIGCONT)
                daemon.stop()

    def other(self, daemon: StruckDaemon) -> StruckDaemon:
        (found,) = (one for one in self.daemons if one is not daemon)
        return found

    def arm(self, point: str, number: signal.Signals) -> None:
        """The first of the daemons to come to this point gets the signal."""
        draft = self._strike.with_suffix(".draft")
        draft.write_text(f"{point} {number.name}")
        draft.rename(self._strike)

    def disarm(self) -> bool:
        """Whether there was still something to disarm."""
        is_armed = self._strike.exists()
        self._strike.unlink(missing_ok=True)
        return is_armed

    def struck(self) -> StruckDaemon:
        """The daemon that came to the point, once it has its signal."""
        watch = self.daemons[0]

        def find() -> StruckDaemon | None:
            return next((one for one in self.daemons if one.is_dead or one.is_asleep), None)

        found: StruckDaemon = watch.eventually(find, "a daemon to come to the point")
        return found

    def job(self, body: str, **values: Any) -> dict[str, Any]:
        repo, tag = self.image.rsplit(":", 1)
        image = {"docker_image_repo": repo, "docker_image_tag": tag}
        command = self.ledger.command(body)
        return self.daemons[0].create_job(**{**image, "command": command, "mounts": self.ledger.mounts, **values})

    def trigger(self, job: dict[str, Any]) -> None:
        """Ask for a run; whether the answer arrives is another matter."""
        try:
            self.daemons[0].trigger(job)
        except requests.ConnectionError:
            return

    def left_containers(self) -> list[dict[str, Any]]:
        client = docker.APIClient(self.socket, version="auto")
        found: list[dict[str, Any]] = client.containers(all=True, filters={"label": "jobd.region=BEIJING1"})
        client.close()
        return [one for one in found if one["Image"] == self.image]

    def evidence(self) -> str:
        return "\n".join(f"{one.folder.name}: {one.evidence()}" for one in self.daemons)
