"""The hooks that a plugin may implement, and the marker to do it with.

A plugin is a module or object registered under the entry-point group ``jobd``::

    from jobd.hookspecs import hookimpl

    @hookimpl
    def jobd_executors():
        return {"my-kind": MyExecutor}

Hooks are called off the loop, in a thread; they may block, but what they block is theirs to answer for. A hook that
raises is logged with its plugin's name and breaks nothing, except `jobd_prepare_run`, whose error fails that exec.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

import pluggy

from jobd.executor import Executor, RunSpec

hookspec = pluggy.HookspecMarker("jobd")
hookimpl = pluggy.HookimplMarker("jobd")


@dataclass(frozen=True)
class JobInfo:
    """A job as it is when the hook is called."""

    id: int
    name: str
    namespace: str
    created_by: str
    labels: Mapping[str, str]


@dataclass(frozen=True)
class ExecInfo:
    """An exec as it is when the hook is called; statuses and reasons are those of the API."""

    id: str
    job_id: int
    namespace: str
    region_name: str
    status: str
    trigger_mode: str
    reason: str | None
    message: str | None
    exit_code: int | None
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None


@dataclass(frozen=True)
class AuthRequest:
    """What a request says of its sender."""

    method: str
    path: str
    headers: Mapping[str, str]
    remote_ip: str


@hookspec
def jobd_executors() -> Mapping[str, type[Executor]]:
    """Called once at start. The answer maps an executor kind (`executor = ` in the INI) to its class."""
    raise NotImplementedError


@hookspec
def jobd_prepare_run(spec: RunSpec, job: JobInfo) -> RunSpec | None:
    """Called before a run is created. The answer replaces the spec (use `dataclasses.replace`), None leaves it.

    Each plugin sees what the one before it answered. Raise `jobd.errors.RunRefused` to refuse the run: the exec
    fails with `start_failed` and that message.
    """
    raise NotImplementedError


@hookspec
def jobd_exec_created(exec: ExecInfo, job: JobInfo) -> None:
    """Called after the commit that made the exec. The answer is ignored."""


@hookspec
def jobd_exec_started(exec: ExecInfo, job: JobInfo) -> None:
    """Called after the commit that says it runs. The answer is ignored."""


@hookspec
def jobd_exec_ended(exec: ExecInfo, job: JobInfo) -> None:
    """Called once after the commit that stored result and log, or that ended an exec which never ran: cancelled,
    overdue or missed while it waited. The answer is ignored.
    """


@hookspec(firstresult=True)
def jobd_authenticate(request: AuthRequest) -> str | None:
    """Called for a request before jobd looks at its token. A user's name signs that user in (who must exist and be
    enabled); None leaves the request to the next plugin and at last to jobd. The first name wins.
    """
