"""Mails through a real SMTP server, with TLS and sign-in, and what a job's name cannot do to them."""

import email
import json
import socket
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.message import EmailMessage
from email.policy import default
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, LoginPassword

from jobd.config.settings import Listen, Mail
from jobd.delivery import mail
from jobd.errors import DeliveryFailed
from jobd.output import run_log
from jobd.output.run_log import Entry
from jobd.store.db.tables import Delivery
from tests.certificates import make_certificate
from tests.services import free_port

SENDER = "jobd@example.com"
AT = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)


@dataclass
class Inbox:
    """What an SMTP server took. `refused` are recipients that it does not know."""

    refused: set[str] = field(default_factory=set)
    mails: list[tuple[list[str], bytes]] = field(default_factory=list)
    signed_in: list[tuple[str, str]] = field(default_factory=list)

    async def handle_RCPT(self, server: Any, session: Any, envelope: Any, address: str, options: Any) -> str:
        if address in self.refused:
            return "550 nobody here"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        self.mails.append((envelope.rcpt_tos, envelope.content))
        return "250 OK"

    def authenticate(self, server: Any, session: Any, envelope: Any, mechanism: str, said: LoginPassword) -> AuthResult:
        self.signed_in.append((said.login.decode(), said.password.decode()))
        return AuthResult(success=said.password == b"right", handled=False)

    def only(self) -> EmailMessage:
        ((_, content),) = self.mails
        return email.message_from_bytes(content, policy=default)


class Server(Controller):
    def __init__(self, inbox: Inbox, tls: Any = None, implicit: bool = False, sign_in: bool = False) -> None:
        self.starttls = None if implicit else tls
        self.sign_in = sign_in
        super().__init__(inbox, "127.0.0.1", free_port(), ssl_context=tls if implicit else None)

    def factory(self) -> SMTP:
        more = {"authenticator": self.handler.authenticate, "auth_required": True} if self.sign_in else {}
        return SMTP(
            self.handler,
            tls_context=self.starttls,
            require_starttls=self.starttls is not None,
            auth_require_tls=self.starttls is not None,
            hostname="localhost",
            **more,
        )


@pytest.fixture
def inbox() -> Inbox:
    return Inbox()


@pytest.fixture
def serve(inbox: Inbox) -> Iterator[Any]:
    servers: list[Server] = []

    def start(**how: Any) -> Listen:
        servers.append(Server(inbox, **how))
        servers[-1].start()
        return Listen(host="localhost", port=servers[-1].port)

    yield start
    for server in servers:
        server.stop(no_assert=True)


def row(to: list[str] | None = None, name: str = "每日报表", **exec: Any) -> Delivery:
    """An outbox row as `outbox.enqueue` writes it."""
    data = {
        "id": "64b2d045-2881-4293-9bcd-bdc04b953115",
        "region_name": "BEIJING1",
        "reason": "exit_code",
        "exit_code": 3,
        "message": "the program ended with 3",
        "attempt": 1,
        "created_at": "2026-01-02T03:04:00.000000+00:00",
        "started_at": "2026-01-02T03:04:01.000000+00:00",
        "ended_at": "2026-01-02T03:04:05.000000+00:00",
        **exec,
    }
    said = {"to": to or ["ops@example.com"], "job": {"id": 146, "name": name}, "data": data}
    return Delivery(message_id="m-1", namespace="chennanfei", event="job:fail", event_at=AT, body=json.dumps(said))


def frames(text: str) -> bytes:
    return run_log.encode([Entry(AT, "stdout", text.encode())])


def mail_settings(smtp: Listen, **more: Any) -> Mail:
    return Mail(smtp=smtp, sender=SENDER, **{"security": "none", **more})


def test_a_mail_says_what_failed_in_two_languages(serve: Any, inbox: Inbox) -> None:
    output = "".join(f"line {number}\n" for number in range(100)) + "\x1b[31m第一百行\x1b[0m\n"
    assert mail.send(row(["ops@example.com", "b@example.com"]), frames(output), mail_settings(serve())) is None
    ((recipients, _),) = inbox.mails
    assert recipients == ["ops@example.com", "b@example.com"]
    got = inbox.only()
    assert (got["From"], got["To"]) == (SENDER, "ops@example.com, b@example.com")
    assert got["Subject"] == "[jobd] 每日报表: exit_code 失败"
    assert got["Message-ID"] == "<m-1@example.com>"
    assert got["Auto-Submitted"] == "auto-generated"
    assert got["Date"].datetime == AT.replace(microsecond=0)
    text = got.get_content()
    for words in ("failed", "失败了", "64b2d045", "exit_code", "the program ended with 3", "BEIJING1", "03:04:05 UTC"):
        assert words in text
    assert "line 99" in text.splitlines()
    assert "第一百行" in text
    assert "line 50" not in text.splitlines()
    assert "\x1b" not in text


@pytest.mark.parametrize("last", ["end", "末行", "x" * 2000])
@pytest.mark.parametrize("name", ["b", "每日报表"])
def test_a_log_arrives_as_it_is_stored(serve: Any, inbox: Inbox, name: str, last: str) -> None:
    lines = ["From here on", "From: nobody", ".", "..", ">From there", "=41", *["more"] * 12, last]
    mail.send(row(name=name), frames("".join(f"{line}\n" for line in lines)), mail_settings(serve()))
    assert inbox.only().get_content().rstrip().splitlines()[-len(lines) :] == lines


@pytest.mark.parametrize("line", ["末行", "x" * 2000])
@pytest.mark.parametrize("name", ["b", "每日报表"])
def test_a_mail_is_seven_bit_which_every_server_takes(serve: Any, inbox: Inbox, name: str, line: str) -> None:
    mail.send(row(name=name), frames(line), mail_settings(serve()))
    ((_, content),) = inbox.mails
    assert content.isascii()
    assert max(map(len, content.splitlines())) <= 998


def test_a_mail_without_a_log_has_none(serve: Any, inbox: Inbox) -> None:
    mail.send(row(started_at=None, exit_code=None, message=None), None, mail_settings(serve()))
    assert "日志" not in inbox.only().get_content()


@pytest.mark.parametrize(
    "name",
    ["a\r\nBcc: all@example.com", "a\nb\n\nbody", "\u2028x\u2029", "\u202egnp.exe", "x" * 255, "é中 {0}", "a\x85b"],
)
def test_a_name_writes_no_header(name: str) -> None:
    message = mail.compose(row(name=name), None, SENDER)
    parsed = email.message_from_bytes(message.as_bytes(), policy=default)
    wanted = ["From", "To", "Subject", "Date", "Message-ID", "Auto-Submitted"]
    assert [header for header in parsed if not header.startswith(("Content-", "MIME"))] == wanted
    assert len(parsed["Subject"]) <= mail.SUBJECT_LENGTH
    assert not set(parsed["Subject"]) & set("\r\n\u2028\u2029\u202e\x85")


def test_a_mail_that_is_made_again_is_the_same() -> None:
    assert mail.compose(row(), None, SENDER).as_bytes() == mail.compose(row(), None, SENDER).as_bytes()


@pytest.mark.parametrize(("security", "implicit"), [("starttls", False), ("tls", True)])
def test_tls_and_sign_in(
    serve: Any, inbox: Inbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, security: str, implicit: bool
) -> None:
    certificate, tls = make_certificate(tmp_path)
    smtp = serve(tls=tls, implicit=implicit, sign_in=True)
    (tmp_path / "password").write_text("right\n")
    account = {"username": "jobd", "password_file": tmp_path / "password", "security": security}
    with pytest.raises(DeliveryFailed, match=r"(?i)certificate"):
        mail.send(row(), None, mail_settings(smtp, **account))
    assert inbox.signed_in == []
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    mail.send(row(), None, mail_settings(smtp, **account))
    assert inbox.signed_in == [("jobd", "right")]
    assert len(inbox.mails) == 1
    (tmp_path / "password").write_text("wrong")
    with pytest.raises(DeliveryFailed, match="535"):
        mail.send(row(), None, mail_settings(smtp, **account))
    (tmp_path / "password").unlink()
    with pytest.raises(DeliveryFailed, match="no such file"):
        mail.send(row(), None, mail_settings(smtp, **account))


def test_a_server_without_tls_gets_nothing_when_tls_is_wanted(serve: Any, inbox: Inbox) -> None:
    with pytest.raises(DeliveryFailed, match="STARTTLS"):
        mail.send(row(), None, mail_settings(serve(), security="starttls"))
    assert inbox.mails == []


def test_who_is_refused_is_told(serve: Any, inbox: Inbox) -> None:
    inbox.refused = {"gone@example.com"}
    smtp = serve()
    told = mail.send(row(["gone@example.com", "ops@example.com"]), None, mail_settings(smtp))
    assert told == "refused: gone@example.com: 550 nobody here"
    assert inbox.mails[0][0] == ["ops@example.com"]
    with pytest.raises(DeliveryFailed, match="all recipients are refused"):
        mail.send(row(["gone@example.com"]), None, mail_settings(smtp))


def test_a_server_that_is_away_or_silent_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DeliveryFailed, match="refused"):
        mail.send(row(), None, mail_settings(Listen(host="127.0.0.1", port=free_port())))
    monkeypatch.setattr(mail, "PATIENCE", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent, pytest.raises(DeliveryFailed, match="timed out"):
        mail.send(row(), None, mail_settings(Listen(host="127.0.0.1", port=silent.getsockname()[1])))
