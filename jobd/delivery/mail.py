"""The mail about an exec that failed: its text, and how it is handed to the SMTP server."""

import contextlib
import json
import smtplib
import ssl
import unicodedata
from collections.abc import Iterator
from datetime import datetime
from email import policy
from email.message import EmailMessage
from email.utils import format_datetime
from typing import Any

from jobd.config import read_password
from jobd.config.settings import Mail
from jobd.errors import DeliveryFailed
from jobd.output import run_log
from jobd.store.db.tables import Delivery

PATIENCE = 10.0
"""Seconds for each step of the conversation with the server."""
SUBJECT_LENGTH = 120
LOG_LINES = 20
LOG_LENGTH = 4000
"""The maximum number of characters, from the end of the log, that a mail shows."""
# A server that does not offer 8BITMIME need not accept anything else (RFC 6152).
SEVEN_BIT = policy.SMTP.clone(cte_type="7bit")

TEXT = """\
The exec {exec} of job {job_id} "{job}" failed.
任务 {job_id}“{job}”的执行 {exec} 失败了。

namespace 命名空间: {namespace}
region 区域:        {region}
reason 原因:        {reason}
exit code 退出码:   {exit_code}
message 说明:       {message}
attempt 第几次:     {attempt}
created 创建:       {created}
started 开始:       {started}
ended 结束:         {ended}

GET /v1/jobs/{job_id}/execs/{exec}
"""
LOG_TEXT = "\nThe end of its log 日志末尾:\n\n{log}\n"


def compose(row: Delivery, frames: bytes | None, sender: str) -> EmailMessage:
    """The mail for an outbox row. It is the same each time, except for the end of the log, which is read from what is
    stored.
    """
    body = json.loads(row.body)
    exec, job = body["data"], body["job"]
    message = EmailMessage(policy=SEVEN_BIT)
    message["From"] = sender
    message["To"] = ", ".join(body["to"])
    message["Subject"] = one_line(f"[jobd] {job['name']}: {exec['reason']} 失败")
    message["Date"] = format_datetime(row.event_at)
    message["Message-ID"] = f"<{row.message_id}@{sender.rpartition('@')[2]}>"
    message["Auto-Submitted"] = "auto-generated"
    text = TEXT.format(
        exec=exec["id"],
        job_id=job["id"],
        job=one_line(job["name"]),
        namespace=row.namespace,
        region=exec["region_name"],
        reason=exec["reason"],
        exit_code="-" if exec["exit_code"] is None else exec["exit_code"],
        message=plain(exec["message"] or "-"),
        attempt=exec["attempt"],
        created=_time(exec["created_at"]),
        started=_time(exec["started_at"]),
        ended=_time(exec["ended_at"]),
    )
    log = _end_of(frames)
    message.set_content(text + (LOG_TEXT.format(log=log) if log else ""))
    return message


def one_line(text: str) -> str:
    """Text from outside for a header: no line ends, no control characters, nothing that changes the
    reading direction.
    """
    return "".join(" " if unicodedata.category(c)[0] in "CZ" else c for c in text)[:SUBJECT_LENGTH]


def plain(text: str) -> str:
    """Text from outside for a body: its lines, without other control characters such as a terminal's."""
    return "".join(c if c in "\n\t" or unicodedata.category(c)[0] != "C" else "\ufffd" for c in text)


def send(row: Delivery, frames: bytes | None, mail: Mail) -> str | None:
    """Hand a mail to the SMTP server. Returns who was refused, in words, if others were not; else None. Blocks.

    Raises DeliveryFailed if nobody gets it.
    """
    assert mail.sender is not None  # noqa: S101
    message = compose(row, frames, mail.sender)
    try:
        with _session(mail) as server:
            # Not send_message, which writes `>From` for `From` at the start of a line.
            refused = server.sendmail(mail.sender, json.loads(row.body)["to"], message.as_bytes())
    except smtplib.SMTPRecipientsRefused as error:
        raise DeliveryFailed(f"all recipients are refused: {_refusals(error.recipients)}") from error
    except smtplib.SMTPResponseException as error:
        raise DeliveryFailed(f"the SMTP server says {error.smtp_code} {_words(error.smtp_error)}") from error
    except (OSError, smtplib.SMTPException, ValueError) as error:
        raise DeliveryFailed(f"the SMTP server cannot be used: {error or type(error).__name__}") from error
    return f"refused: {_refusals(refused)}" if refused else None


@contextlib.contextmanager
def _session(mail: Mail) -> Iterator[smtplib.SMTP]:
    assert mail.smtp is not None  # noqa: S101
    host, port = mail.smtp.host, mail.smtp.port
    tls = ssl.create_default_context() if mail.security != "none" else None
    if mail.security == "tls":
        server: smtplib.SMTP = smtplib.SMTP_SSL(host, port, timeout=PATIENCE, context=tls)
    else:
        server = smtplib.SMTP(host, port, timeout=PATIENCE)
    with server:
        if mail.security == "starttls":
            server.starttls(context=tls)
        if mail.username is not None and mail.password_file is not None:
            server.login(mail.username, read_password(mail.password_file).get_secret_value())
        yield server


def _end_of(frames: bytes | None) -> str:
    if frames is None:
        return ""
    last = run_log.tail(run_log.lines(run_log.decode(frames)), LOG_LINES)
    return plain(b"".join(line.data for line in last).decode(errors="replace"))[-LOG_LENGTH:]


def _time(text: str | None) -> str:
    return "-" if text is None else datetime.fromisoformat(text).strftime("%Y-%m-%d %H:%M:%S UTC")


def _refusals(refused: dict[str, Any]) -> str:
    return "; ".join(f"{address}: {code} {_words(text)}" for address, (code, text) in refused.items())


def _words(text: bytes | str) -> str:
    return text.decode(errors="replace") if isinstance(text, bytes) else text
