"""Emits events to plugins, after the commit and outside the loop."""

import asyncio
import contextlib
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import pluggy

from jobd import daemon_log
from jobd.errors import RunRefused, ServiceUnavailable, StartFailed
from jobd.executor import RunSpec
from jobd.hookspecs import ExecInfo, JobInfo
from jobd.store.db.database import Database
from jobd.store.db.tables import Exec, Job

log = logging.getLogger(__name__)


class PluginEvents:
    """Calls each implementation of a hook by itself, so that one that raises does not keep the others from being
    called.

    `on_change(exec id)` is called before any plugin, in the loop's thread.
    """

    def __init__(
        self, plugins: pluggy.PluginManager, database: Database, on_change: Callable[[str], None] = lambda exec_id: None
    ) -> None:
        self._plugins = plugins
        self._database = database
        self._on_change = on_change
        # One thread, in which each event waits for the previous one of its exec: a plugin sees them in order.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="jobd-hooks")
        # Separate threads, so that a slow plugin delays no run.
        self._preparing = ThreadPoolExecutor(4, thread_name_prefix="jobd-prepare")
        self._pending: set[asyncio.Task[None]] = set()
        self._latest: dict[str, asyncio.Task[None]] = {}
        """The last event in progress of each exec, by the exec's id."""

    def listen(self) -> None:
        """From now on also emit the ends of execs that nobody owned: cancelled or overdue while they waited."""
        self._loop = asyncio.get_running_loop()
        self._database.end_listeners.append(self._unowned_ended)

    def ignore(self) -> None:
        """Emit no more of those."""
        if self._unowned_ended in self._database.end_listeners:
            self._database.end_listeners.remove(self._unowned_ended)

    def _unowned_ended(self, rows: list[Exec]) -> None:
        """Called in a thread of the database."""
        with contextlib.suppress(RuntimeError):  # the loop has ended
            self._loop.call_soon_threadsafe(self._emit_all, "jobd_exec_ended", list(rows))

    def _emit_all(self, hook: str, rows: list[Exec]) -> None:
        for row in rows:
            self.emit(hook, row)

    def emit(self, hook: str, row: Exec) -> None:
        """Call `jobd_exec_created`, `_started` or `_ended` of all plugins; returns at once."""
        self._on_change(row.id)
        impls = self._impls(hook)
        if impls:
            before = self._latest.get(row.id)
            task = asyncio.get_running_loop().create_task(self._call_plugins(impls, _exec_info(row), before))
            self._latest[row.id] = task
            self._pending.add(task)
            task.add_done_callback(partial(self._done, row.id))

    def _done(self, exec_id: str, task: asyncio.Task[None]) -> None:
        self._pending.discard(task)
        if self._latest.get(exec_id) is task:
            del self._latest[exec_id]

    async def prepare_run(self, spec: RunSpec) -> RunSpec:
        """The spec as `jobd_prepare_run` leaves it. Raises StartFailed if a plugin refuses or raises."""
        impls = self._impls("jobd_prepare_run")
        if not impls:
            return spec
        job = await self._job_info(spec.job_id)
        prepare = daemon_log.with_log_context(_prepare)
        return await asyncio.get_running_loop().run_in_executor(self._preparing, prepare, impls, spec, job)

    async def close(self) -> None:
        self.ignore()
        if self._pending:
            await asyncio.wait(self._pending, timeout=5)
        for pool in (self._thread, self._preparing):
            pool.shutdown(wait=False, cancel_futures=True)

    def _impls(self, hook: str) -> list[Any]:
        # The order in which pluggy calls them: the last registered first.
        return list(reversed(getattr(self._plugins.hook, hook).get_hookimpls()))

    async def _call_plugins(self, impls: list[Any], info: ExecInfo, before: asyncio.Task[None] | None) -> None:
        daemon_log.bind_log_context(exec_id=info.id, job_id=info.job_id)
        try:
            job = await self._job_info(info.job_id)
        except ServiceUnavailable as error:
            log.warning(
                "exec %s: the event for status %s could not be emitted to plugins: %s", info.id, info.status, error
            )
            return
        finally:
            if before is not None:
                await asyncio.wait([before])
        call_each = daemon_log.with_log_context(_call_each)
        await asyncio.get_running_loop().run_in_executor(self._thread, call_each, impls, info, job)

    async def _job_info(self, job_id: int) -> JobInfo:
        job = await self._database.read(Job.get_or_none, Job.id == job_id)
        if job is None:
            return JobInfo(job_id, "", "", "", {})
        return JobInfo(job.id, job.name, job.namespace, job.created_by, job.labels)


def _call(impl: Any, **arguments: Any) -> Any:
    return impl.function(*(arguments[name] for name in impl.argnames))


def _call_each(impls: list[Any], info: ExecInfo, job: JobInfo) -> None:
    for impl in impls:
        try:
            _call(impl, exec=info, job=job)
        except Exception:  # a plugin's error must not become the engine's
            log.exception("plugin %s: %s raised", impl.plugin_name, impl.function.__name__)


def _prepare(impls: list[Any], spec: RunSpec, job: JobInfo) -> RunSpec:
    for impl in impls:
        try:
            spec = _call(impl, spec=spec, job=job) or spec
        except RunRefused as refusal:
            raise StartFailed(refusal.message) from refusal
        except Exception as error:  # by contract, whatever is raised here fails the exec
            log.exception("plugin %s: %s raised", impl.plugin_name, impl.function.__name__)
            raise StartFailed(f"plugin {impl.plugin_name}: {error}") from error
    return spec


def _exec_info(row: Exec) -> ExecInfo:
    return ExecInfo(
        id=row.id,
        job_id=row.job_id,
        namespace=row.namespace,
        region_name=row.region_name,
        status=row.status,
        trigger_mode=row.trigger_mode,
        reason=row.reason,
        message=row.message,
        exit_code=row.exit_code,
        created_at=row.created_at,
        started_at=row.started_at,
        ended_at=row.ended_at,
    )
