"""Following the output of execs: however many followers an exec has, its executor is read once.

A followed exec has a feed; each follower has a place in its output and goes on from there at its own speed. A follower
who falls behind by more than is kept gets the same kind of cut that the record will have there. Once the exec has
ended, the feed is what the store keeps: offsets mean the same there, so nothing comes twice and nothing is left out.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping

from jobd import daemon_log
from jobd.engine.following.feed import End, Feed
from jobd.engine.regions import ServedRegion
from jobd.engine.run_secrets import Secrets
from jobd.errors import ServiceUnavailable, TooManyRequests
from jobd.loop_turns import Turns
from jobd.output.recording import Recording
from jobd.output.run_log import Batch
from jobd.store.db.database import Database
from jobd.task_set import TaskSet

log = logging.getLogger(__name__)

MAX_FEEDS = 256
"""The maximum number of execs that are followed at once: each has a thread and a connection to its region."""
KEPT_FOR = 2.0
"""Seconds that a feed goes on after its last follower left: otherwise one who comes back has it all read again."""


class Followers:
    """`limit` is how much of an exec's output is kept, in bytes; `recording` returns the recording of an exec that this
    daemon records. Used in the loop's thread alone.
    """

    def __init__(
        self,
        database: Database,
        regions: Mapping[str, ServedRegion],
        limit: int,
        secrets: Secrets,
        recording: Callable[[str], Recording | None],
    ) -> None:
        self._recording = recording
        self._database = database
        self._regions = regions
        self._limit = limit
        self._secrets = secrets
        self._feeds: dict[str, Feed] = {}
        self._turns = Turns()
        self._tasks = TaskSet()
        self._dismissed = False

    def follow(self, exec_id: str, offset: int) -> "Follower":
        """Follow an exec from a place in its output. The caller has to close what it gets.

        Raises TooManyRequests if too many execs are followed, ServiceUnavailable if the daemon is stopping.
        """
        if self._dismissed:
            raise ServiceUnavailable("this jobd is stopping")
        feed = self._feeds.get(exec_id)
        if feed is None or feed.dismissed:
            self._make_room()
            feed = self._feeds[exec_id] = Feed(exec_id, self._limit, self._turns)
            feed.task = self._tasks.spawn(self._run(feed))
        return Follower(feed, offset, self._left)

    def changed(self, exec_id: str) -> None:
        """The record of an exec has changed: its feed need not wait for the next look."""
        if exec_id in self._feeds:
            self._feeds[exec_id].changed.set()

    def dismiss(self) -> None:
        """The daemon stops: end following for all, at once."""
        self._dismissed = True
        for feed in self._feeds.values():
            feed.dismiss()

    async def close(self) -> None:
        """Dismiss all, and let go of the executors."""
        self.dismiss()
        await self._tasks.wait()

    async def _run(self, feed: "Feed") -> None:
        # The feed outlives the request that began it.
        daemon_log.clear_log_context()
        daemon_log.bind_log_context(exec_id=feed.exec_id)
        try:
            await feed.run(self._database, self._regions, self._secrets, self._recording)
        except Exception:  # followers must not wait for what will never come
            log.exception("exec %s cannot be followed", feed.exec_id)
            feed.dismiss()

    def _make_room(self) -> None:
        """End an unused feed if there are too many for another one. Raises TooManyRequests."""
        if len(self._feeds) >= MAX_FEEDS:
            unused = next((feed for feed in self._feeds.values() if not feed.followers), None)
            if unused is None:
                raise TooManyRequests(f"{MAX_FEEDS} execs are followed already", retry_after=5)
            self._end(unused)

    def _left(self, feed: Feed) -> None:
        if feed.followers:
            return
        feed.unused_since = asyncio.get_running_loop().time()
        if feed.is_over:
            self._end(feed)
        else:
            asyncio.get_running_loop().call_later(KEPT_FOR, self._end_unused, feed, feed.unused_since)

    def _end_unused(self, feed: Feed, since: float) -> None:
        if not feed.followers and feed.unused_since == since:
            self._end(feed)

    def _end(self, feed: Feed) -> None:
        if self._feeds.get(feed.exec_id) is feed:
            del self._feeds[feed.exec_id]
        feed.dismiss()


class Follower:
    """A follower at a place in the output. A context manager: leaving it closes the follower."""

    def __init__(self, feed: Feed, offset: int, on_left: Callable[[Feed], None]) -> None:
        self.offset = offset
        self._feed = feed
        self._on_left = on_left
        self._closed = False
        feed.followers += 1

    async def more(self, patience: float) -> Batch:
        """What comes next, as soon as there is something; an empty batch after `patience` seconds, and
        when it is over.
        """
        if self._feed.read(self.offset):
            # Otherwise a follower who catches up would keep the loop busy for as long as the kernel takes what is sent.
            await self._feed.turns.wait()
        elif not self._feed.is_over:
            await self._feed.news(patience)
        piece = self._feed.read(self.offset)
        self.offset += sum(entry.length for entry in piece)
        return piece

    @property
    def is_over(self) -> bool:
        """Whether nothing more comes: the exec has ended and everything was given, or the daemon stops."""
        return self._feed.is_over and not self._feed.read(self.offset)

    @property
    def end(self) -> End | None:
        """How the exec ended; None while it goes on, and if the daemon stops before."""
        return self._feed.end

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._feed.followers -= 1
            self._on_left(self._feed)

    def __enter__(self) -> "Follower":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()
