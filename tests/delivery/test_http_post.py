"""A POST to somebody else's server: where it may go, and what may come back."""

import asyncio
import ipaddress
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tornado.ioloop import IOLoop

from jobd.delivery.http_post import MAX_KEPT, Answer, Poster
from jobd.errors import DeliveryFailed, DeliveryRefused
from tests.certificates import make_certificate
from tests.delivery.receivers import Talk, answer, receiver, silence
from tests.loop_rounds import rounds

LOOPBACK = (ipaddress.ip_network("127.0.0.0/8"),)

pytestmark = pytest.mark.gen_test


@pytest.fixture
def poster(io_loop: IOLoop) -> Iterator[Poster]:
    """One that may send to this machine."""
    made = Poster(LOOPBACK, threads=4)
    yield made
    made.close()


@pytest.fixture
def guarded(io_loop: IOLoop) -> Iterator[Poster]:
    """One as it is by default."""
    made = Poster((), threads=4)
    yield made
    made.close()


async def send(poster: Poster, url: str, patience: float = 5.0) -> Answer:
    return await poster.post(url, {"X-Test": "1"}, "任务".encode(), patience)


async def test_a_receiver_gets_what_was_said_and_is_heard(poster: Poster) -> None:
    async with receiver(answer(201, "好".encode(), Server="test")) as there:
        got = await send(poster, there.url(path="/a/b?c=d%20e"))
        (request,) = there.requests
    assert (got.status, got.body, got.headers["Server"]) == (201, "好".encode(), "test")
    assert (request.line, request.body) == ("POST /a/b?c=d%20e HTTP/1.1", "任务".encode())
    assert (request.headers["host"], request.headers["x-test"]) == (f"127.0.0.1:{there.port}", "1")


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "localhost",
        "2130706433",
        "0x7f000001",
        "0177.0.0.1",
        "0177.1",
        "127.1",
        "0",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[::]",
        "10.255.255.1",
        "169.254.169.254",
        "100.64.0.1",
        "224.0.0.1",
        "[64:ff9b::7f00:1]",
        "[2002:7f00:1::]",
    ],
)
async def test_an_address_that_is_not_public_is_not_connected_to(guarded: Poster, host: str) -> None:
    async with receiver() as there:
        with pytest.raises(DeliveryFailed, match=r"may not be sent to|not known"):
            await send(guarded, there.url(host))
    assert (there.requests, there.most_connections) == ([], 0)


def addressed(*answers: list[str]) -> tuple[Any, list[str]]:
    """A resolver that answers with the next of these each time it is asked, and the names that it was asked for."""
    asked: list[str] = []

    def look_up(host: str, port: int, **more: Any) -> list[Any]:
        asked.append(host)
        found = answers[min(len(asked), len(answers)) - 1]
        return [info for address in found for info in socket.getaddrinfo(address, port, **more)]

    return look_up, asked


async def test_a_name_that_resolves_to_a_private_address_is_refused(io_loop: IOLoop) -> None:
    async with receiver() as there:
        for found in (["127.0.0.1"], ["8.8.8.8", "127.0.0.1"], ["::ffff:127.0.0.1"], ["10.0.0.1"]):
            look_up, _ = addressed(found)
            with pytest.raises(DeliveryRefused) as refusal:
                await send(Poster((), 1, look_up), there.url("hook.example.com"))
            # What the name resolves to is the operator's to know; and it may resolve to something else tomorrow.
            assert refusal.value.message == "hook.example.com may not be sent to"
            assert "no public address" in refusal.value.detail
            assert not refusal.value.is_final
    assert there.requests == []


async def test_a_name_that_means_another_address_the_next_time_gets_nothing_there(io_loop: IOLoop) -> None:
    """Rebinding: an address of `allowed` stands for the public one that the name has when it is looked at."""
    look_up, asked = addressed(["127.0.0.2"], ["127.0.0.1"])
    poster = Poster((ipaddress.ip_network("127.0.0.2/32"),), 1, look_up)
    async with receiver(host="127.0.0.2") as public:
        assert (await send(poster, public.url("hook.example.com"))).status == 200
        assert asked == ["hook.example.com"]
        with pytest.raises(DeliveryRefused, match="may not be sent to"):
            await send(poster, public.url("hook.example.com"))
    assert len(public.requests) == 1


async def test_a_redirect_is_an_answer_and_not_followed(poster: Poster) -> None:
    async with receiver() as inside, receiver(answer(307, Location=inside.url())) as there:
        assert (await send(poster, there.url())).status == 307
    assert inside.requests == []


async def test_proxies_of_the_environment_are_not_used(poster: Poster, monkeypatch: pytest.MonkeyPatch) -> None:
    async with receiver() as proxy, receiver() as there:
        for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy.url())
        await send(poster, there.url())
    assert (len(there.requests), proxy.requests) == (1, [])


async def test_the_next_address_of_a_name_is_tried(io_loop: IOLoop) -> None:
    look_up, _ = addressed(["127.0.0.9", "127.0.0.1"])
    async with receiver() as there:
        assert (await send(Poster(LOOPBACK, 1, look_up), there.url("hook.example.com"))).status == 200


async def endless(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
    while True:
        writer.write(b"x" * 65536)
        await writer.drain()


async def endless_headers(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\n")
    while True:
        writer.write(b"X-More: " + b"x" * 1000 + b"\r\n")
        await writer.drain()


async def endless_chunks(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    while True:
        writer.write(b"10000\r\n" + b"x" * 65536 + b"\r\n")
        await writer.drain()


async def drips(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 202 OK\r\nContent-Length: 1000\r\n\r\nx")
    await reader.read()


async def cuts_the_body(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nx")


@pytest.mark.parametrize(
    ("said", "status", "kept"),
    [
        (endless, 200, MAX_KEPT),
        (endless_chunks, 200, MAX_KEPT),
        (answer(200, b"y" * 9000), 200, MAX_KEPT),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999\r\n\r\n" + b"z" * 9000, 200, MAX_KEPT),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nnonsense\r\n", 200, 0),
        (cuts_the_body, 200, 1),
        (b"HTTP/1.1 100 Continue\r\n\r\n" + answer(204), 204, 0),
        (b"HTTP/1.0 200 \r\n\r\nold", 200, 3),
    ],
)
async def test_of_an_answer_that_is_odd_the_status_counts(
    poster: Poster, said: bytes | Talk, status: int, kept: int
) -> None:
    async with receiver(said) as there:
        got = await send(poster, there.url())
    assert (got.status, len(got.body)) == (status, kept)


async def test_of_an_answer_that_does_not_end_in_time_the_status_counts(poster: Poster) -> None:
    async with receiver(drips) as there:
        got = await send(poster, there.url(), patience=0.5)
    assert (got.status, got.body) == (202, b"x")


async def test_many_answers_in_chunks_of_a_byte_let_others_have_their_turn(poster: Poster) -> None:
    said = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1\r\nx\r\n" * 3000 + b"0\r\n\r\n"
    async with receiver(said) as there:
        with rounds() as seen:
            answers = await asyncio.gather(*(send(poster, there.url(), 30) for _ in range(20)))
    assert {(got.status, got.body) for got in answers} == {(200, b"x" * 3000)}
    # 180,000 reads: with all that there is of each answer in a round it takes a hundred rounds.
    assert len(seen) > 700


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"HTTP/1.1 abc\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n\xff: \x00\r\n",
        endless_headers,
        silence,
    ],
)
async def test_an_answer_that_is_none_is_a_failure(poster: Poster, said: bytes | Talk) -> None:
    async with receiver(said) as there:
        began = time.monotonic()
        with pytest.raises(DeliveryFailed):
            await send(poster, there.url(), patience=0.5)
    assert time.monotonic() - began < 3
    assert len(there.requests) == 1


async def test_nobody_there_and_no_such_name_are_failures(poster: Poster) -> None:
    async with receiver() as there:
        pass
    with pytest.raises(DeliveryFailed, match="refused"):
        await send(poster, there.url())
    with pytest.raises(DeliveryFailed, match="not known"):
        await send(poster, "http://nowhere.invalid/")
    with pytest.raises(DeliveryFailed, match="not known"):
        await send(poster, f"http://{'a' * 64}.example.com/")


async def test_a_name_server_that_is_silent_is_a_failure_in_time(io_loop: IOLoop) -> None:
    def look_up(*args: Any, **more: Any) -> list[Any]:
        time.sleep(1)
        return []

    began = time.monotonic()
    with pytest.raises(DeliveryFailed, match="no answer within"):
        await send(Poster(LOOPBACK, 1, look_up), "http://hook.example.com/", patience=0.2)
    assert time.monotonic() - began < 0.9


async def test_tls_is_verified(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    right, tls = make_certificate(tmp_path)
    other, other_tls = make_certificate(tmp_path, "other.example.com")
    untrusting = Poster(LOOPBACK, 2)
    async with receiver(tls=tls) as there, receiver(tls=other_tls) as wrong_name, receiver() as plain:
        with pytest.raises(DeliveryFailed, match=r"(?i)certificate"):
            await send(untrusting, there.url("localhost", "https"))
        trusted = tmp_path / "trusted.pem"
        trusted.write_bytes(right.read_bytes() + other.read_bytes())
        monkeypatch.setenv("SSL_CERT_FILE", str(trusted))
        trusting = Poster(LOOPBACK, 2)
        assert (await send(trusting, there.url("localhost", "https"))).status == 200
        with pytest.raises(DeliveryFailed, match=r"(?i)certificate"):
            await send(trusting, wrong_name.url("localhost", "https"))
        with pytest.raises(DeliveryFailed):
            await send(trusting, plain.url("localhost", "https"), patience=1)
        assert there.requests
        assert wrong_name.requests == []


async def test_a_server_that_never_finishes_its_handshake_is_a_failure_in_time(poster: Poster) -> None:
    async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(say_nothing, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(DeliveryFailed, match="no answer within"):
            await send(poster, f"https://127.0.0.1:{port}/", patience=0.3)
