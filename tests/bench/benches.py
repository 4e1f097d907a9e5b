"""All benches by name."""

from collections.abc import Callable

from tests.bench.docker_runs import exec_latency, exec_rate
from tests.bench.engine_rows import engine_rate
from tests.bench.firing import fire_lateness, fire_rate, idle
from tests.bench.following import log_follow
from tests.bench.growth import growth
from tests.bench.hostile import hostile
from tests.bench.listing import lists
from tests.bench.many import many_running
from tests.bench.measure import Figure
from tests.bench.ssh_runs import ssh_latency, ssh_rate
from tests.bench.starting import cold_start
from tests.bench.unread import followers
from tests.bench.web import api_list, api_read, api_write
from tests.bench.world import World

BENCHES: dict[str, Callable[[World], list[Figure]]] = {
    "exec-latency": exec_latency,
    "exec-rate": exec_rate,
    "ssh-latency": ssh_latency,
    "ssh-rate": ssh_rate,
    "engine-rate": engine_rate,
    "fire-rate": fire_rate,
    "fire-lateness": fire_lateness,
    "idle": idle,
    "api-read": api_read,
    "api-write": api_write,
    "api-list": api_list,
    "log-follow": log_follow,
    "followers": followers,
    "many-running": many_running,
    "cold-start": cold_start,
    "growth": growth,
    "lists": lists,
    "hostile": hostile,
}
