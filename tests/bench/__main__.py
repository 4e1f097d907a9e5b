"""`python -m tests.bench [NAME…]`: run benches, all of them without a name. `script/bench` brings the services."""

import argparse
import signal
import sys
import time
from pathlib import Path

import pytest

from tests.bench import report
from tests.bench.benches import BENCHES
from tests.bench.measure import Figure
from tests.bench.scale import FULL, QUICK
from tests.bench.world import World


def main() -> int:
    parser = argparse.ArgumentParser(prog="script/bench", description="Measure jobd against its floors.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"one of {', '.join(BENCHES)}; without one, all")
    parser.add_argument("--quick", action="store_true", help="small numbers: minutes instead of an hour")
    parser.add_argument("--json", type=Path, default=Path("bench.json"), help="where the figures go (bench.json)")
    given = parser.parse_args()
    unknown = [name for name in given.names if name not in BENCHES]
    if unknown:
        parser.error(f"no bench is called {', '.join(unknown)}; there are {', '.join(BENCHES)}")
    # As Ctrl-C: what was made is cleared away.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    world = World(QUICK if given.quick else FULL)
    figures: list[Figure] = []
    skipped: dict[str, str] = {}
    try:
        for name in given.names or BENCHES:
            began = time.monotonic()
            print(f"{name} …", file=sys.stderr, flush=True)
            try:
                figures += BENCHES[name](world)
            except pytest.skip.Exception as missing:
                skipped[name] = str(missing)
            print(f"{name}: {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
    finally:
        world.close()
    report.show(figures, skipped)
    report.write(given.json, world.scale, figures, skipped)
    return 0


sys.exit(main())
