"""Recording the output of runs while they run, and what is stored of it when they have ended."""

import logging

from jobd.config import Settings
from jobd.engine.live import LiveExec
from jobd.errors import ExecutorError, RegionUnavailable
from jobd.executor import Executor, Handle, State, Status
from jobd.output import run_log
from jobd.output.masking import Mask
from jobd.output.recording import Recording
from jobd.output.run_log import StoredLog

log = logging.getLogger(__name__)


def new(live: LiveExec, settings: Settings) -> Recording:
    """A recording for an exec whose mask is known."""
    return Recording(settings.execs.max_log, live.mask, settings.jobd.data_dir)


def start(executor: Executor, handle: Handle, recording: Recording) -> None:
    """Start a run whose output is recorded from its beginning. Blocks. Raises what `Executor.start` raises."""
    begin(executor, handle, recording)
    executor.start(handle)


def begin(executor: Executor, handle: Handle, recording: Recording) -> None:
    """Record what a run writes, if its executor gives it. Blocks. Raises RegionUnavailable."""
    try:
        recording.collected = executor.collect(handle, recording)
    except RegionUnavailable:
        raise
    except ExecutorError as error:
        log.warning("the output of %s is not recorded, but read when it has ended: %s", handle.id, error)
    except Exception:  # a plugin's error: the log can be read when the run has ended
        log.exception("the output of %s is not recorded, but read when it has ended", handle.id)
    if recording.is_closed and recording.collected is not None:
        recording.collected.close()


def of(live: LiveExec) -> Recording | None:
    """The recording of an exec, if it is complete so far."""
    recording = live.recording
    return recording if recording is not None and recording.is_fed else None


def read_log(executor: Executor, handle: Handle, limit: int, mask: Mask | None, final: bool = True) -> StoredLog:
    """What a run has written, masked and then cut to `limit` bytes. If the run goes on (not `final`), the beginning of
    what may be a secret is left out. Blocks. Raises HandleGone, RegionUnavailable.
    """
    if final:
        recording = Recording(limit, mask, None)
        begin(executor, handle, recording)
        try:
            if recording.collected is not None:
                return recording.complete()
        finally:
            recording.close()
    chunks = executor.logs(handle)
    return run_log.keep(chunks if mask is None else mask.apply(chunks, final), limit)


def read_end(
    executor: Executor, handle: Handle, limit: int | None, recording: Recording | None
) -> tuple[Status, StoredLog | None]:
    """The state of a run and, once it has ended, what it has written, as recorded or read without a mask. The log is
    None if it was not read, as without a `limit`, or has to be read again. Blocks. Raises ExecutorError.
    """
    status = executor.statuses([handle]).get(handle, Status(State.GONE))
    if status.state is not State.ENDED or status.ran_again or (limit is None and recording is None):
        return status, None
    try:
        if recording is not None:
            return status, recording.complete()
        return status, read_log(executor, handle, limit or 0, None)
    except RegionUnavailable:
        raise
    except Exception as error:  # the caller that reads the log alone finds out what is wrong, and how often to try
        log.debug("the log of %s could not be read: %s", handle.id, error)
        return status, None
