"""schemathesis against a running daemon: `python -m tests.api.schemathesis_run --minutes 10 [--seed N]`.

All its checks but one, that valid data are accepted: a schema cannot say which schedules and images are right.
"""

import argparse
import os
import random
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.e2e.daemon import Daemon

PATHS = [str(Path(__file__).parents[2]), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
"""The tests' own folder first: schemathesis runs elsewhere and finds its hooks there."""


def run(daemon: Daemon, *flags: str, timeout: float | None = None) -> subprocess.CompletedProcess[str]:
    """One run with these flags of `st run` added; it fails, with what it found, if there was anything."""
    command = [
        str(Path(sys.executable).with_name("st")),
        "--no-color",
        "run",
        f"http://127.0.0.1:{daemon.port}/openapi.json",
        "--header",
        f"Authorization: Token {daemon.token}",
        "--exclude-checks",
        "positive_data_acceptance",
        "--suppress-health-check",
        "all",
        "--request-timeout",
        "20",
        "--generation-database",
        "none",
        "--warnings",
        "off",
        "--continue-on-failure",
        *flags,
    ]
    return subprocess.run(
        command,
        cwd=daemon.folder,
        env={**os.environ, "SCHEMATHESIS_HOOKS": "tests.api.schemathesis_hooks", "PYTHONPATH": os.pathsep.join(PATHS)},
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=timeout,
    )


def served(folder: Path) -> Daemon:
    """A daemon whose only region runs nothing, and that has a job and an exec for the calls to find."""
    daemon = Daemon(folder, {"region:BEIJING1": "executor = dry-run"})
    daemon.start()
    daemon.ended(daemon.trigger(daemon.create_job(docker_image_repo="busybox")))
    return daemon


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--seed", type=int, default=random.randrange(2**31))
    given = parser.parse_args()
    print(f"seed {given.seed}", flush=True)
    with tempfile.TemporaryDirectory(prefix="jobd-schemathesis-") as folder:
        daemon = served(Path(folder))
        try:
            done = run(daemon, "--seed", str(given.seed), "--max-time", str(int(given.minutes * 60)))
        finally:
            daemon.stop()
    print(done.stdout)
    return done.returncode


if __name__ == "__main__":
    sys.exit(main())
