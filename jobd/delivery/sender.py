"""Sends what is in the outbox: each delivery goes to its webhook or as a mail, until it is accepted or given up."""

import asyncio
import logging
import random
import time
from collections import Counter
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from jobd.config import Settings
from jobd.delivery import mail, signatures
from jobd.delivery.http_post import Answer, Poster
from jobd.errors import DeliveryFailed, DeliveryRefused, ServiceUnavailable
from jobd.keyring import Keyring
from jobd.store import outbox, secrets
from jobd.store.db.database import Database
from jobd.store.db.tables import Delivery, Hook
from jobd.store.db.text import storable
from jobd.store.outbox import MAIL, Attempt, SendBudget

log = logging.getLogger(__name__)

RETRIES = (5, 60, 300, 1800, 7200, 18000, 36000)
"""Seconds before each further attempt."""
JITTER = 0.1
"""The share of such a time by which it is prolonged at most, so that deliveries that failed together do not come back
together.
"""
MAX_RETRY_AFTER = 36000.0
"""The maximum number of seconds that a receiver may ask for."""
AT_ONCE = 64
TROUBLED_AT_ONCE = 32
PER_HOOK = 4
PER_NAMESPACE = 16
"""Deliveries that this daemon sends at the same time: in all, to webhooks that did not answer well, to one webhook, and
for one namespace.
"""
SLOW = 5.0
"""Seconds after which an answer no longer counts as good."""
MAX_REMEMBERED = 10_000
"""The maximum number of webhooks remembered as not answering well; the oldest is forgotten for a new one."""


@dataclass(frozen=True)
class Verdict:
    """The outcome of an attempt, as `outbox.finish` takes it."""

    status: str
    retry_after: float | None = None
    error: str | None = None
    is_gone: bool = False


class Deliveries:
    """Looks for due deliveries every `tick` seconds, and whenever one has been sent."""

    def __init__(self, database: Database, settings: Settings, daemon: str, poster: Poster | None = None) -> None:
        self._database = database
        self._keyring = Keyring(settings.jobd.key_file)
        self._mail = settings.mail
        self._tick = settings.scheduler.tick
        self._daemon = daemon
        self._poster = poster or Poster(settings.webhooks.allow_networks, AT_ONCE)
        self._mails = ThreadPoolExecutor(PER_HOOK, thread_name_prefix="jobd-mail")
        self._wake = asyncio.Event()
        self._serving: asyncio.Task[None] | None = None
        self._sending: dict[asyncio.Task[None], Delivery] = {}
        self._troubled: dict[int, None] = {}

    async def start(self) -> None:
        """Begin with what an earlier start of this daemon left unfinished."""
        await self._release()
        self._serving = asyncio.create_task(self._serve())

    async def stop(self, patience: float) -> None:
        """Claim nothing more. Wait for what is being sent, at most `patience` seconds, and leave the rest to other
        daemons.
        """
        if self._serving is not None:
            self._serving.cancel()
            await asyncio.gather(self._serving, return_exceptions=True)
        if self._sending:
            _, late = await asyncio.wait(self._sending, timeout=patience)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)
        await self._release()
        self._poster.close()
        self._mails.shutdown(wait=False, cancel_futures=True)

    async def _release(self) -> None:
        try:
            await self._database.write(outbox.release, self._daemon)
        except ServiceUnavailable as error:
            log.warning(
                "claimed deliveries could not be released, they are sent again after %s: %s", outbox.LEASE, error
            )

    async def _serve(self) -> None:
        while True:
            try:
                await self._send_due()
            except ServiceUnavailable as error:
                log.debug("due deliveries could not be claimed: %s", error)
            except Exception:  # the next tick tries again
                log.exception("due deliveries could not be claimed")
            try:
                async with asyncio.timeout(self._tick):
                    await self._wake.wait()
            except TimeoutError:
                continue
            self._wake.clear()

    async def _send_due(self) -> None:
        if not await self._database.read(outbox.is_due):
            return
        for row, hook in await self._database.write(outbox.claim, self._daemon, self._budget()):
            self._spawn(row, self._deliver(row, hook))

    def _budget(self) -> SendBudget:
        rows = list(self._sending.values())
        return SendBudget(
            left=AT_ONCE - len(rows),
            left_troubled=TROUBLED_AT_ONCE - sum(row.hook_id in self._troubled for row in rows),
            per_hook=PER_HOOK,
            per_namespace=PER_NAMESPACE,
            troubled=frozenset(self._troubled),
            hooks=Counter(row.hook_id for row in rows),
            namespaces=Counter(row.namespace for row in rows if row.hook_id != MAIL),
        )

    def _spawn(self, row: Delivery, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._sending[task] = row
        task.add_done_callback(self._over)

    def _over(self, task: asyncio.Task[None]) -> None:
        del self._sending[task]
        self._wake.set()

    async def _deliver(self, row: Delivery, hook: Hook | None) -> None:
        """Make one attempt and store its outcome. If that cannot be stored, the delivery is sent again when its lease
        is over.
        """
        at, began = datetime.now(UTC), time.monotonic()
        answer: Answer | None = None
        note: str | None = None
        try:
            if row.hook_id == MAIL and self._mail.smtp is None:
                verdict = Verdict("failed", error="[mail] smtp is not set")
            elif row.hook_id == MAIL:
                note = await self._send_mail(row)
                verdict = Verdict("delivered")
            elif hook is None or not hook.is_active:
                verdict = Verdict("failed", error="the hook is switched off" if hook else "the hook is gone")
            else:
                answer = await self._post(row, hook)
                verdict = judge(answer, row.attempts, at)
        except DeliveryRefused as error:
            log.warning("delivery %d of hook %d is refused: %s", row.id, row.hook_id, error.detail)
            verdict = Verdict("failed", error=error.message) if error.is_final else again(row.attempts, error.message)
        except DeliveryFailed as error:
            verdict = again(row.attempts, error.message)
        except ServiceUnavailable as error:
            log.warning("delivery %d waits for the database: %s", row.id, error)
            return
        except Exception as error:  # an error in one delivery, which must not be lost by it
            log.exception("delivery %d failed", row.id)
            verdict = again(row.attempts, f"{type(error).__name__}: {error}")
        took = time.monotonic() - began
        self._remember(row.hook_id, verdict.error is not None or took > SLOW)
        self._count(row, verdict, took)
        attempt = Attempt(at, took, error=storable(verdict.error or note, outbox.MAX_TEXT_LENGTH))
        if answer is not None:
            text = storable(answer.body.decode(errors="replace"), outbox.MAX_TEXT_LENGTH)
            attempt = replace(attempt, status_code=answer.status, answer=text)
        try:
            await self._database.write(
                outbox.finish, row, attempt, verdict.status, verdict.retry_after, verdict.is_gone
            )
        except ServiceUnavailable as error:
            log.warning("delivery %d of %s may be sent twice: %s", row.id, row.event, error)

    async def _post(self, row: Delivery, hook: Hook) -> Answer:
        body = row.body.encode()
        secret = None
        if hook.secret is not None:
            secret = await self._database.read(secrets.of_hook, self._keyring, hook.id)
        headers = signatures.headers(row.message_id, row.event, row.event_at, int(time.time()), body, secret)
        return await self._poster.post(hook.url, headers, body)

    async def _send_mail(self, row: Delivery) -> str | None:
        """Send a mail; returns who was refused, if others were not. Raises DeliveryFailed."""
        frames = await self._database.read(outbox.log_of, row.exec_id)
        return await asyncio.get_running_loop().run_in_executor(self._mails, mail.send, row, frames, self._mail)

    def _count(self, row: Delivery, verdict: Verdict, took: float) -> None:
        channel = "mail" if row.hook_id == MAIL else "webhook"
        result = "success" if verdict.status == "delivered" else "failure"
        self._database.metrics.delivered(channel, result, took)
        if verdict.status == "failed":
            self._database.metrics.gave_up(channel)

    def _remember(self, hook_id: int, is_troubled: bool) -> None:
        self._troubled.pop(hook_id, None)
        if is_troubled and hook_id != MAIL:
            self._troubled[hook_id] = None
            if len(self._troubled) > MAX_REMEMBERED:
                del self._troubled[next(iter(self._troubled))]


def judge(answer: Answer, attempts: int, at: datetime) -> Verdict:
    """The verdict on an answer to a delivery that had `attempts` attempts before; `at` is the current time."""
    if 200 <= answer.status < 300:
        return Verdict("delivered")
    if answer.status == 410:
        return Verdict("failed", error="410: the receiver wants no more, its hook is switched off", is_gone=True)
    words = "a redirect, which is not followed" if 300 <= answer.status < 400 else "the receiver does not take it"
    wait = _retry_after(answer, at) if answer.status in (429, 503) else 0.0
    return again(attempts, f"{answer.status}: {words}", wait)


def again(attempts: int, error: str, at_least: float = 0.0) -> Verdict:
    """Another attempt after its usual time, but not before `at_least` seconds; after the last attempt, give up."""
    if attempts >= len(RETRIES):
        return Verdict("failed", error=error)
    wait = RETRIES[attempts] * (1 + JITTER * random.random())  # noqa: S311
    return Verdict("pending", max(wait, at_least), error)


def _retry_after(answer: Answer, at: datetime) -> float:
    """Seconds that the receiver asks for (RFC 9110, 10.2.3), as a number or a date; 0 for anything else."""
    text = answer.headers.get("Retry-After", "").strip()
    if text.isascii() and text.isdigit():
        return min(float(text[:10]), MAX_RETRY_AFTER)
    try:
        until = parsedate_to_datetime(text)
        return min(max((until - at).total_seconds(), 0.0), MAX_RETRY_AFTER)
    except (ValueError, TypeError, OverflowError):
        return 0.0
