"""The Docker benches again, with the engine behind an SSH server of this machine."""

import subprocess
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager

import docker

from tests.bench.docker_runs import THREADS, latency, rate
from tests.bench.measure import Figure
from tests.bench.world import World
from tests.plugins.sshd import Sshd


def ssh_latency(world: World) -> list[Figure]:
    with far_engine(world) as (region, client):
        return latency("ssh-latency", world, region, client)


def ssh_rate(world: World) -> list[Figure]:
    with far_engine(world) as (region, client):
        return rate("ssh-rate", world, region, client)


@contextmanager
def far_engine(world: World) -> Iterator[tuple[str, docker.APIClient]]:
    """A region's INI keys for jobd, and for the floor docker-py on one kept connection of the program ssh."""
    server = Sshd(world.new_folder()).start()
    near, far = server.folder / "docker.sock", world.docker_socket.removeprefix("unix://")
    forward = ["ssh", "-N", "-F", "none", "-i", server.key, "-p", str(server.port), "-L", f"{near}:{far}"]
    quiet = ["-o", f"UserKnownHostsFile={server.known_hosts}", "-o", "BatchMode=yes", f"{server.user}@127.0.0.1"]
    tunnel = subprocess.Popen([*forward, *quiet])
    try:
        while not near.exists():
            assert tunnel.poll() is None, server.evidence()
            time.sleep(0.02)
        region = (
            f"executor = docker-ssh\nhost = {server.user}@127.0.0.1:{server.port}\nidentity_file = {server.key}\n"
            f"known_hosts = {server.known_hosts}\nsocket = {far}\nnetwork = {world.network}\nmax_running = {THREADS}"
        )
        with closing(docker.APIClient(f"unix://{near}", version="auto", max_pool_size=32)) as client:
            yield region, client
    finally:
        tunnel.terminate()
        tunnel.wait()
        server.stop()
