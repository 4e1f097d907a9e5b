"""How long `jobd serve` takes until it answers, against Python importing the three libraries that it stands on."""

import http.client
import subprocess
import sys
import time
from pathlib import Path

from tests.bench.measure import Figure, at_most, by_rounds, interleaved
from tests.bench.world import World
from tests.services import free_port


def cold_start(world: World) -> list[Figure]:
    folder = world.new_folder()
    ini = folder / "jobd.ini"
    _serve(folder, ini)
    pairs = interleaved(world.scale.starts, lambda: _serve(folder, ini), _import)
    in_ms = [(subject * 1000, floor * 1000) for subject, floor in pairs]
    return [by_rounds("cold-start", "first 200 of /readyz", "ms", in_ms, at_most(3))]


def _import() -> float:
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", "import tornado, peewee, docker"], check=True)
    return time.perf_counter() - began


def _serve(folder: Path, ini: Path) -> float:
    port = free_port()
    ini.write_text(f"[jobd]\nlisten = 127.0.0.1:{port}\ndata_dir = {folder}\n[region:BEIJING1]\nexecutor = docker\n")
    command = [sys.executable, "-m", "jobd", "serve", "-c", str(ini)]
    with (folder / "daemon.log").open("ab") as log:
        began = time.perf_counter()
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        while not _is_ready(port):
            assert process.poll() is None, (folder / "daemon.log").read_text()
            time.sleep(0.002)
        return time.perf_counter() - began
    finally:
        process.terminate()
        process.wait()


def _is_ready(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/readyz")
        return connection.getresponse().status == 200
    except ConnectionError:
        return False
    finally:
        connection.close()
