"""Which headers of which proxies are believed."""

from collections.abc import Callable
from ipaddress import ip_network
from urllib.parse import urlsplit

import pytest
from tornado.httputil import HTTPHeaders, HTTPServerRequest, RequestStartLine

from jobd.config.settings import Jobd
from jobd.web.proxies import use_forwarded_address
from tests.api.server import Api

PROXIES = [ip_network(text) for text in ("127.0.0.0/8", "::1", "10.0.0.0/24")]

REQUEST = RequestStartLine("GET", "/", "HTTP/1.1")


class Connection:
    """What tornado's request asks of its connection."""

    def __init__(self, remote_ip: str) -> None:
        self.context = self
        self.remote_ip = remote_ip
        self.protocol = "http"


def seen(peer: str, *headers: tuple[str, str]) -> tuple[str, str]:
    made = HTTPHeaders()
    for name, value in headers:
        made.add(name, value)
    made["Host"] = "jobs.example.com"
    request = HTTPServerRequest(headers=made, connection=Connection(peer), start_line=REQUEST)
    use_forwarded_address(request, PROXIES)
    return request.remote_ip, request.protocol


@pytest.mark.parametrize(
    ("peer", "headers", "address"),
    [
        ("127.0.0.1", [("X-Forwarded-For", "192.0.2.7")], "192.0.2.7"),
        ("::1", [("X-Forwarded-For", "2001:DB8::1")], "2001:db8::1"),
        ("127.0.0.1", [("X-Forwarded-For", "1.1.1.1, 192.0.2.7")], "192.0.2.7"),
        ("127.0.0.1", [("X-Forwarded-For", "1.1.1.1"), ("X-Forwarded-For", "192.0.2.7")], "192.0.2.7"),
        ("127.0.0.1", [("X-Forwarded-For", "1.1.1.1, 192.0.2.7, 10.0.0.9")], "192.0.2.7"),
        ("10.0.0.9", [("X-Forwarded-For", "192.0.2.7")], "192.0.2.7"),
        ("10.0.1.9", [("X-Forwarded-For", "192.0.2.7")], "10.0.1.9"),
        ("192.0.2.7", [("X-Forwarded-For", "127.0.0.1"), ("X-Forwarded-Proto", "https")], "192.0.2.7"),
        ("127.0.0.1", [("X-Real-IP", "192.0.2.7"), ("Forwarded", "for=192.0.2.7")], "127.0.0.1"),
        ("127.0.0.1", [("X-Real-IP", "1.1.1.1"), ("X-Forwarded-For", "192.0.2.7")], "192.0.2.7"),
        ("127.0.0.1", [("X-Forwarded-For", "192.0.2.7, unknown")], "127.0.0.1"),
        ("127.0.0.1", [("X-Forwarded-For", "")], "127.0.0.1"),
        ("127.0.0.1", [("X-Forwarded-For", "fe80::1%<b>")], "fe80::1"),
    ],
)
def test_the_caller_is_the_last_one_that_is_no_proxy(peer: str, headers: list[tuple[str, str]], address: str) -> None:
    assert seen(peer, *headers)[0] == address


@pytest.mark.parametrize(
    ("peer", "said", "scheme"),
    [
        ("127.0.0.1", "https", "https"),
        ("127.0.0.1", "http,HTTPS", "https"),
        ("127.0.0.1", "javascript", "http"),
        ("192.0.2.7", "https", "http"),
    ],
)
def test_the_scheme_is_the_proxys_word(peer: str, said: str, scheme: str) -> None:
    assert seen(peer, ("X-Forwarded-Proto", said), ("X-Scheme", "wss"))[1] == scheme


@pytest.mark.gen_test(timeout=30)
async def test_links_and_audit_are_about_the_caller_and_not_the_proxy(api: Api) -> None:
    proxied = {"X-Forwarded-For": "192.0.2.7", "X-Forwarded-Proto": "https", "X-Real-IP": "1.1.1.1"}
    for name in ("one", "two"):
        values = {"name": name, "docker_image_repo": "busybox"}
        assert (await api.call("POST", "/v1/jobs", values, headers=proxied)).status == 201
    page = (await api.call("GET", "/v1/jobs?page_size=1", headers=proxied)).json
    assert urlsplit(page["next"]).scheme == "https"
    newest = (await api.call("GET", "/v1/audit", headers=proxied)).json["results"][0]
    assert newest["address"] == "192.0.2.7"


@pytest.mark.gen_test(timeout=30)
async def test_a_proxy_that_is_not_trusted_is_the_caller(make_api: Callable[..., Api], api: Api) -> None:
    strict = make_api(api.token, jobd=Jobd(trusted_proxies=()))
    values = {"name": "one", "docker_image_repo": "busybox"}
    assert (await strict.call("POST", "/v1/jobs", values, headers={"X-Forwarded-For": "192.0.2.7"})).status == 201
    newest = (await strict.call("GET", "/v1/audit")).json["results"][0]
    assert newest["address"] == "127.0.0.1"
