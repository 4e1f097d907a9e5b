"""A client of the HTTP API for the commands: its address and token, requests, and errors as exit codes."""

import configparser
import ipaddress
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import requests
from requests.auth import AuthBase

from jobd import __version__
from jobd.cli.failure import AWAY, NOT_ALLOWED, USAGE, Failure, TryLater, failure
from jobd.cli.output import plain

DEFAULT_URL = "http://127.0.0.1:8080"
CONNECT_TIMEOUT = 5.0
READ_TIMEOUT = 60.0
"""Seconds."""
PAGE_SIZE = 100
"""The largest page that the API allows."""

Item = dict[str, Any]


@dataclass(frozen=True)
class Place:
    """The API's address, and the token for it."""

    url: str
    token: str | None


def place(url: str | None, token_file: Path | None, environ: Mapping[str, str], ini: Path) -> Place:
    """Address and token, each from the first of flag, environment and `cli.ini` that has it. Raises Failure."""
    settings = _read_ini(ini)
    url = url or environ.get("JOBD_URL") or settings.get("url") or DEFAULT_URL
    if token_file is not None:
        return Place(url, _read_token(token_file))
    if environ.get("JOBD_TOKEN"):
        return Place(url, environ["JOBD_TOKEN"].strip())
    if settings.get("token_file"):
        return Place(url, _read_token(ini.parent / Path(settings["token_file"]).expanduser()))
    return Place(url, None)


class Client:
    """Calls the API. Every method raises Failure, or TryLater if the same call may succeed later."""

    def __init__(self, where: Place) -> None:
        self.url = where.url.rstrip("/")
        if not re.match(r"https?://[^/]", self.url, re.IGNORECASE):
            raise Failure(f"{where.url!r} is not a server's address; expected http://HOST:PORT or https://HOST", USAGE)
        self._has_token = where.token is not None
        self._session = requests.Session()
        self._session.auth = _Token(where.token)
        self._session.headers["User-Agent"] = f"jobd/{__version__}"
        # Requests to a daemon on this machine must not go through a proxy that the environment sets.
        self._session.trust_env = not _is_loopback(self.url)

    def get(self, path: str, **query: Any) -> Any:
        return self._decoded(self._send("GET", path, params=query))

    def post(self, path: str, body: Item | None = None, headers: Mapping[str, str] | None = None, **query: Any) -> Any:
        return self._decoded(self._send("POST", path, json=body, headers=headers, params=query))

    def put(self, path: str, body: Item) -> Any:
        return self._decoded(self._send("PUT", path, json=body))

    def delete(self, path: str) -> None:
        self._send("DELETE", path)

    def items(self, path: str, limit: int, **query: Any) -> tuple[list[Item], int]:
        """The newest `limit` items of a list, or all with 0, and how many there were in all when the first page was
        read. Items that are added or deleted meanwhile do not cause repetitions.
        """
        items: list[Item] = []
        size = min(limit, PAGE_SIZE) if limit else PAGE_SIZE
        total, after, counting = 0, "", "exact"
        while True:
            page = self.get(path, page_size=size, after=after, count=counting, **query)
            try:
                items += page["results"]
                total = total if page["count"] is None else page["count"]
                following = page["next"]
                after = "" if following is None else parse_qs(urlsplit(following).query)["after"][0]
            except (LookupError, TypeError):
                raise self._not_jobd() from None
            if following is None:
                # Items may have been deleted since they were counted; now all of them have been read.
                total = len(items)
            if following is None or 0 < limit <= len(items):
                return (items[:limit] if limit else items), total
            counting = "none"

    @contextmanager
    def stream(
        self, path: str, accept: str, headers: Mapping[str, str] = {}, **query: Any
    ) -> Iterator[requests.Response]:
        """A response to be read as it arrives; open within the context."""
        answer = self._send("GET", path, params=query, headers={"Accept": accept, **headers}, stream=True)
        with answer, self._translated():
            yield answer

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError) as error:
            raise TryLater(f"no jobd can be reached at {self.url}: {_innermost(error)}", AWAY) from error
        except (requests.RequestException, UnicodeError) as error:
            raise Failure(f"cannot send a request to {self.url}: {error}", USAGE) from error

    def _send(self, method: str, path: str, **request: Any) -> requests.Response:
        with self._translated():
            answer = self._session.request(
                method, self.url + path, timeout=(CONNECT_TIMEOUT, READ_TIMEOUT), allow_redirects=False, **request
            )
            if answer.status_code == 401 and not self._has_token:
                raise Failure("no token: set JOBD_TOKEN, or give its file with --token-file", NOT_ALLOWED)
            if answer.status_code >= 300:
                raise _refusal(answer, self.url)
        return answer

    def _decoded(self, answer: requests.Response) -> Any:
        try:
            return answer.json() if answer.content else None
        except requests.JSONDecodeError:
            raise self._not_jobd() from None

    def _not_jobd(self) -> Failure:
        return Failure(f"the server at {self.url} is not jobd")


class _Token(AuthBase):
    """Adds the token, if any, to requests. Needed even without one, or `requests` would send what is in ~/.netrc."""

    def __init__(self, token: str | None) -> None:
        self.token = token

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        if self.token:
            request.headers["Authorization"] = f"Token {self.token}"
        return request


def _refusal(answer: requests.Response, url: str) -> Failure:
    try:
        error = answer.json()["errors"][0]
        fields = {name: faults for entry in error.get("fields", []) for name, faults in entry.items()}
        message = "\n".join(plain(line) for line in error["message"].splitlines())
        if answer.status_code == 500 and "X-Request-Id" in answer.headers:
            message += f" (request {answer.headers['X-Request-Id']})"
        return failure(error["code"], message, fields)
    except (requests.JSONDecodeError, LookupError, TypeError, AttributeError):
        status_line = f"{url} responds with {answer.status_code} {answer.reason}"
    if answer.status_code in (502, 503, 504):
        return TryLater(status_line, AWAY)
    if answer.status_code in (401, 403):
        return Failure(status_line, NOT_ALLOWED)
    return Failure(f"{status_line}: the server is not jobd")


def _read_ini(path: Path) -> Mapping[str, str]:
    parser = configparser.ConfigParser(interpolation=None)
    try:
        with path.open(encoding="utf-8") as file:
            parser.read_file(file)
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, configparser.Error) as error:
        raise Failure(f"{path}: {error}", USAGE) from None
    unknown = [f"[{name}]" for name in parser.sections() if name != "cli"]
    settings = dict(parser["cli"]) if parser.has_section("cli") else {}
    unknown += sorted(settings.keys() - {"url", "token_file"})
    if unknown:
        raise Failure(f"{path}: {', '.join(unknown)}: unknown; expected url and token_file in [cli]", USAGE)
    return settings


def _read_token(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, ValueError) as error:
        raise Failure(f"the token cannot be read: {error}", USAGE) from None


def _is_loopback(url: str) -> bool:
    try:
        host = urlsplit(url).hostname or ""
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _innermost(error: BaseException) -> str:
    """The operating system's message, without those of the layers around it."""
    while True:
        reason = getattr(error, "reason", None) or next((a for a in error.args if isinstance(a, Exception)), None)
        if not isinstance(reason, BaseException):
            break
        error = reason
    return getattr(error, "strerror", None) or str(error).rpartition(": ")[2] or type(error).__name__
