"""Puts the daemon together; the order in which its parts start and stop."""

import asyncio
import contextlib
import faulthandler
import gc
import logging
import os
import signal
import socket
import sys
import threading
import time
from pathlib import Path

import pluggy
from tornado.netutil import bind_sockets

from jobd import daemon_log, data_dir, descriptors, plugins
from jobd.api.routes import application
from jobd.config import Settings
from jobd.delivery.sender import Deliveries
from jobd.engine.engine import Engine
from jobd.engine.leases import FileLock, Lease, daemon_id
from jobd.errors import ConfigError
from jobd.keyring import Keyring
from jobd.schedule import zone_rules
from jobd.store import daemons, secrets
from jobd.store.db.database import Database
from jobd.store.people import accounts
from jobd.watchdog import Watchdog
from jobd.web.connections import IDLE_TIMEOUT, Connections
from jobd.web.handler import Services
from jobd.web.server import Server

log = logging.getLogger(__name__)

BODY_TIMEOUT = 60.0
"""Seconds that an authenticated caller has for sending a body."""
BACKLOG = 1024
"""The maximum number of connections that wait in the kernel's queue to be accepted, where the kernel allows as many."""
MAX_HEAD = 32 * 2**10
"""The maximum size in bytes of a request's head: the connection is closed if there is more."""
SWITCH_INTERVAL = 0.001
"""Seconds after which a running thread lets another one run, a fifth of Python's own value: for each request the loop
waits for its turn several times, behind threads that read and write large rows.
"""
REQUEST_PATIENCE = 10.0
"""Seconds that requests in progress have to finish when the daemon stops."""
DELIVERY_PATIENCE = 5.0
"""The same for webhooks and mails; what is cut off then is sent again by the next daemon that serves the database."""


def serve(settings: Settings, manager: pluggy.PluginManager) -> int:
    """Run a daemon until SIGTERM or SIGINT; returns the exit code. Raises ConfigError if it cannot start."""
    # Prints where every thread is, in case systemd's watchdog has to end the process.
    faulthandler.enable()
    sys.setswitchinterval(SWITCH_INTERVAL)
    with data_dir.private_files(), contextlib.ExitStack() as opened:
        try:
            database = _prepared(settings, opened)
        except OSError as error:
            place = error.filename or settings.jobd.data_dir
            raise ConfigError(f"[jobd] data_dir: {place}: {error.strerror or error}") from error
        code = asyncio.run(Daemon(settings, manager, database).run())
    leave_stuck_threads(code)
    return code


def _prepared(settings: Settings, opened: contextlib.ExitStack) -> Database:
    """The database with its schema, with the locks held; `opened` releases both. Raises OSError, ConfigError."""
    for path in _lock_paths(settings):
        opened.callback(FileLock(path).release)
    data_dir.refuse_emptied(settings)
    database = Database(settings.database.url, settings.database.connections)
    opened.callback(database.close)
    if database.is_sqlite:
        # From here on the file has a header: an empty file beside a daemon's id must then have been emptied.
        database.read_sync(_nothing)
    daemon_log.configure(settings.log, daemon_id(settings.jobd.data_dir))
    _log_zone_rules()
    data_dir.close_to_others(settings)
    database.migrate(then=lambda: _prepare(settings))
    return database


def leave_stuck_threads(code: int, patience: float = 5.0) -> None:
    """End the process with this exit code if a thread is still busy after `patience` seconds: at exit Python waits for
    every thread, and one that hangs in a plugin would keep a stopped daemon alive.
    """
    until = time.monotonic() + patience
    others = [thread for thread in threading.enumerate() if thread is not threading.main_thread() and not thread.daemon]
    for thread in others:
        thread.join(max(0.0, until - time.monotonic()))
    stuck = [thread.name for thread in others if thread.is_alive()]
    if stuck:
        log.error("the process ends although threads are still busy: %s", ", ".join(stuck))
        logging.shutdown()
        os._exit(code)


class Daemon:
    """One daemon in this process: engine and HTTP server on one loop."""

    def __init__(self, settings: Settings, manager: pluggy.PluginManager, database: Database) -> None:
        self._settings = settings
        self._manager = manager
        self._database = database
        self._over = asyncio.Event()
        self._exit_code = 0

    async def run(self) -> int:
        engine = self._engine(await self._database.read(daemons.installation))
        sockets = self._bind()
        connections = self._connections(descriptors.raise_limit())
        services = Services(
            self._database.for_clients(), self._settings, engine, self._manager, connections=connections
        )
        server = self._server(services)
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._over.set)
        deliveries = Deliveries(self._database, self._settings, daemon_id(self._settings.jobd.data_dir))
        await engine.start()
        await deliveries.start()
        server.add_sockets(sockets)
        watchdog = Watchdog(engine, self._database, self._settings.scheduler.tick, str(self._settings.jobd.listen))
        watchdog.start()
        # What exists now stays: a full garbage collection through all of it would block the loop for a tenth of a
        # second.
        gc.freeze()
        log.info("jobd listens on http://%s", self._settings.jobd.listen)
        if not self._settings.jobd.listen.loopback:
            log.warning("tokens and passwords cross the network in the clear unless a proxy with TLS stands in front")
        await self._over.wait()
        watchdog.stop()
        log.info("stopping; running execs go on")
        server.stop()
        engine.dismiss_followers()
        await services.requests.finished(REQUEST_PATIENCE)
        await server.close_all_connections()
        services.close()
        await deliveries.stop(DELIVERY_PATIENCE)
        await engine.stop()
        return self._exit_code

    def _engine(self, installation: str) -> Engine:
        executors = plugins.build_executors(plugins.executor_kinds(self._manager), self._settings, installation)
        daemon = daemon_id(self._settings.jobd.data_dir)
        lease = Lease(self._database, daemon, self._settings.scheduler.lease)
        return Engine(self._database, self._settings, self._manager, executors, installation, lease, self._lose_place)

    def _connections(self, descriptor_limit: int) -> Connections:
        capacity = descriptors.for_connections(descriptor_limit, self._settings.database.connections)
        metrics = self._database.metrics
        connections = Connections(capacity, lambda reason: metrics.http_connections_closed.labels(reason).inc())
        metrics.has_connections(capacity, lambda: len(connections), lambda: connections.anonymous)
        return connections

    def _server(self, services: Services) -> Server:
        return Server(
            application(services),
            services.connections,
            self._database.metrics.http_accept_pauses.inc,
            max_body_size=sys.maxsize,
            max_header_size=MAX_HEAD,
            body_timeout=BODY_TIMEOUT,
            idle_connection_timeout=IDLE_TIMEOUT,
        )

    def _bind(self) -> list[socket.socket]:
        listen = self._settings.jobd.listen
        try:
            return bind_sockets(listen.port, listen.host, backlog=BACKLOG)
        except OSError as error:
            raise ConfigError(f"[jobd] listen: cannot listen on {listen}: {error.strerror or error}") from error

    def _lose_place(self) -> None:
        log.error("another start of this daemon has taken its place")
        self._exit_code = 1
        self._over.set()


def _log_zone_rules() -> None:
    rules = zone_rules.in_use()
    log.log(logging.WARNING if rules.is_older else logging.INFO, "time zone rules: %s", rules)


def _lock_paths(settings: Settings) -> list[Path]:
    file = settings.database.sqlite_path
    return [settings.jobd.data_dir / "daemon.lock", *([file.with_name(file.name + ".lock")] if file else [])]


def _nothing() -> None:
    """Does nothing but connect."""


def _prepare(settings: Settings) -> None:
    secrets.begin(Keyring(settings.jobd.key_file))
    _first_start(settings)


def _first_start(settings: Settings) -> None:
    """On an empty database, create a user `admin` and write its token to a file that only the daemon's
    user can read.
    """
    if accounts.has_users():
        return
    path = settings.jobd.data_dir / "admin.token"
    accounts.create_user(accounts.ADMIN, is_admin=True)
    token = accounts.create_token(accounts.ADMIN, "first start")
    path.unlink(missing_ok=True)
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="ascii") as file:
        file.write(f"{token}\n")
    url = f"http://{settings.jobd.listen}/v1/jobs"
    print(f"jobd: first start; the token of the user admin is in {path}", flush=True)
    print(f"jobd: try: curl -H \"Authorization: Token $(cat '{path}')\" {url}", flush=True)
