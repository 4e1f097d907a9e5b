"""Collects a run's complete output, even if the connection to the engine breaks.

A container's attached streams are complete if they were attached before its start (`attaching`). If the connection
broke, or this process did not start the container, the engine's files are read instead, at intervals and at the end
(`rereading`).
"""

import heapq
import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta
from itertools import chain, count

import docker
from docker.errors import APIError

from jobd.errors import ExecutorError, HandleGone
from jobd.executor import Collected, OutputSink
from jobd_docker import attaching, events, logs
from jobd_docker.attaching import Attachment, Attachments, Connection
from jobd_docker.client import translated
from jobd_docker.logs import Frame
from jobd_docker.rereading import Rereading, survey

log = logging.getLogger(__name__)

PATIENCE = 10.0
"""Seconds without a byte after which the streams of an ended container are given up."""
MIN_PAUSE, MAX_PAUSE = 2.0, 10.0
"""Seconds between two readings of a container's files, while it writes and while it does not."""
COST = 20
"""The pause after a reading is at least this many times as long as the reading took."""
WORDS_GAPS = "Docker had dropped some of it before it was read"
WORDS_AWAY = "Docker was away while it ran"


class Collector:
    """The outputs of one region. `dial` connects to the engine, `session` returns the number of the open event stream,
    and `first_run` drops the frames of later runs of a container.
    """

    def __init__(
        self,
        name: str,
        place: Callable[[], str],
        client: Callable[[], docker.APIClient],
        dial: Callable[[], Connection],
        session: Callable[[], int],
        first_run: Callable[[str, Iterator[Frame]], Iterator[Frame]],
    ) -> None:
        self._place = place
        self.client = client
        self.session = session
        self.first_run = first_run
        self._name = name
        self._dial = dial
        self._offset = timedelta()
        self._lock = threading.Lock()
        self._attachments: Attachments | None = None
        self._turns: Turns | None = None
        self._closed = False

    def translated(self) -> AbstractContextManager[None]:
        return translated(self._place())

    def start(self) -> None:
        """Start its two threads, which serve all runs."""
        with self._lock:
            if self._attachments is None and not self._closed:
                self._attachments = Attachments(self._name)
                self._turns = Turns(self._name)

    def collect(self, container: str, is_fresh: bool, sink: OutputSink) -> "RunOutput":
        """Collect a container's output. `is_fresh` says that it was never started.

        Raises RegionUnavailable, HandleGone, ExecutorError.
        """
        self.start()
        output = RunOutput(self, container, sink, self._attach(container, sink) if is_fresh else None)
        if output.attachment is None:
            self.read_later(output)
        return output

    def set_clock(self, engine: datetime) -> None:
        """Set the current time of the engine's clock, which gives the times of output."""
        offset = engine - datetime.now(UTC)
        self._offset = offset if abs(offset) > timedelta(seconds=1) else timedelta()

    def remove(self, attachment: Attachment) -> None:
        if self._attachments is not None:
            self._attachments.remove(attachment)

    def read_later(self, output: "RunOutput") -> None:
        if self._turns is not None:
            self._turns.add(output, 0.0 if output.attachment is None else MIN_PAUSE)

    def close(self) -> None:
        with self._lock:
            self._closed = True
            for threads in (self._attachments, self._turns):
                if threads is not None:
                    threads.close()

    def _attach(self, container: str, sink: OutputSink) -> Attachment:
        with self.translated():
            path = f"/v{self.client().api_version}/containers/{container}/attach"
            connection = self._dial()
            try:
                first = attaching.request(connection, path)
            except BaseException:
                connection.close()
                raise
        attachment = Attachment(connection, sink, lambda: datetime.now(UTC) + self._offset, self.session())
        attachment.feed(first)
        assert self._attachments is not None  # noqa: S101
        self._attachments.add(attachment)
        return attachment


class RunOutput(Collected):
    """One run's output."""

    def __init__(self, collector: Collector, container: str, sink: OutputSink, attachment: Attachment | None) -> None:
        self.attachment = attachment
        self.is_closed = False
        self._collector = collector
        self._container = container
        self._sink = sink
        self._rereading: Rereading | None = None
        self._lock = threading.Lock()
        """Guards the rereading."""
        self._missing: str | None = None
        if attachment is not None:
            attachment.when_ended = lambda: collector.read_later(self)
            if attachment.ended.is_set():
                collector.read_later(self)

    @property
    def is_whole(self) -> bool:
        """Whether the attached streams are complete so far: they cannot have been cut unnoticed."""
        attachment = self.attachment
        if attachment is None or attachment.was_cut:
            return False
        return attachment.session != 0 and attachment.session == self._collector.session()

    def complete(self) -> str:
        with self._lock:
            if self._missing is None:
                self._missing = self._complete()
            return self._missing

    def read_on(self) -> bool:
        """Read new output from the files, and return whether there was any. Raises ExecutorError."""
        with self._lock:
            if self.is_closed or self._missing is not None or self.is_whole:
                return False
            return self._reread(is_last=False)

    def close(self) -> None:
        self.is_closed = True
        if self.attachment is not None:
            self._collector.remove(self.attachment)

    def _complete(self) -> str:
        if self.attachment is not None:
            self._await_end(self.attachment)
            if self.is_whole:
                return ""
        self._reread(is_last=True)
        words = []
        if self._rereading is not None and self._rereading.has_gaps:
            words.append(WORDS_GAPS)
        if self._was_away():
            words.append(WORDS_AWAY)
        return "; ".join(words)

    def _await_end(self, attachment: Attachment) -> None:
        size = -1
        while not attachment.ended.is_set() and sum(attachment.size.values()) != size:
            size = sum(attachment.size.values())
            attachment.ended.wait(PATIENCE)
        if not attachment.ended.is_set():
            attachment.was_cut = True
            self._collector.remove(attachment)
            attachment.ended.wait(PATIENCE)

    def _was_away(self) -> bool:
        """Whether the engine was down for a while; if its events do not show it, whether the streams were cut."""
        with self._collector.translated():
            seen = events.saw_start(self._collector.client(), self._container)
        if seen is None:
            return self.attachment is not None and not self.attachment.was_cut
        return not seen

    def _reread(self, is_last: bool) -> bool:
        client = self._collector.client()
        with self._collector.translated():
            try:
                begins_with = None
                if self._rereading is None:
                    host = client.inspect_container(self._container)["HostConfig"]
                    beginning = survey(logs.kept_frames(client, self._container), host["LogConfig"])
                    if beginning.first is None:
                        return False
                    self._rereading, begins_with = (
                        Rereading(self._sink),
                        beginning.first if beginning.is_whole else None,
                    )
                rereading = self._rereading
                # At the end read everything: after a clock was set back, new output has earlier times.
                kept = logs.kept_frames(client, self._container, None if is_last else rereading.since)
                frames = self._collector.first_run(self._container, kept)
                if not rereading.has_begun:
                    first = next(frames, None)
                    if first is None:
                        return False
                    self._begin(rereading, first == begins_with)
                    frames = chain([first], frames)
                return rereading.read(frames, is_last)
            except APIError as error:
                if error.status_code in (404, 409):
                    raise HandleGone(f"no such container: {self._container}") from error
                raise

    def _begin(self, rereading: Rereading, is_whole: bool) -> None:
        attachment = self.attachment
        if is_whole:
            rereading.pass_over({} if attachment is None else attachment.size)
        else:
            knows_some = attachment is not None and any(attachment.size.values())
            rereading.begin_after(attachment.last_time if attachment is not None and knows_some else None)


class Turns:
    """Reads the files of containers that are not attached, one after the other, in one thread."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._order = count()
        self._due: list[tuple[float, int, RunOutput, float]] = []
        self._news = threading.Condition()
        self._closed = False
        threading.Thread(target=self._run, name=f"jobd-{name}-turns", daemon=True).start()

    def add(self, output: RunOutput, delay: float) -> None:
        with self._news:
            heapq.heappush(self._due, (time.monotonic() + delay, next(self._order), output, MIN_PAUSE))
            self._news.notify()

    def close(self) -> None:
        with self._news:
            self._closed = True
            self._news.notify()

    def _run(self) -> None:
        while True:
            with self._news:
                while not self._closed and (not self._due or self._due[0][0] > time.monotonic()):
                    self._news.wait(self._due[0][0] - time.monotonic() if self._due else None)
                if self._closed:
                    return
                _, _, output, pause = heapq.heappop(self._due)
            if output.is_closed:
                continue
            began = time.monotonic()
            more = False
            try:
                more = output.read_on()
            except HandleGone:
                continue
            except ExecutorError as error:
                log.debug("region %s: will retry reading a container's output: %s", self._name, error)
            except Exception:
                log.exception("region %s: reading a container's output failed", self._name)
            pause = MIN_PAUSE if more else min(2 * pause, MAX_PAUSE)
            ended = time.monotonic()
            with self._news:
                due = ended + max(pause, COST * (ended - began))
                heapq.heappush(self._due, (due, next(self._order), output, pause))
