"""Where the API is, who asks, and which exit code an answer leads to."""

import json
import socket
from pathlib import Path

import pytest

from jobd.cli.client import DEFAULT_URL, place
from jobd.cli.failure import Failure
from tests.cli.stand_in import TOKEN

NOWHERE = Path("/nonexistent/cli.ini")


def error(code, message="so it is", **more):
    return json.dumps({"errors": [{"source": "jobd", "code": code, "message": message, **more}]})


@pytest.mark.parametrize(
    ("status", "code", "exit_code"),
    [
        (400, "invalid_args", 2),
        (400, "bad_request", 2),
        (401, "unauthorized", 4),
        (403, "permission_denied", 4),
        (404, "resource_not_exist", 3),
        (409, "resource_state_conflict", 1),
        (429, "too_many_requests", 1),
        (500, "unknown_issue", 1),
        (503, "service_unavailable", 5),
    ],
)
def test_each_error_of_the_api_has_its_exit_code(server, run, status, code, exit_code):
    server.refusals = [(status, error(code))]
    result = run("job", "show", "146")
    assert (result.exit_code, result.stdout) == (exit_code, "")
    assert "so it is" in result.stderr


def test_every_fault_of_a_field_is_told(server, run):
    server.refusals = [(400, error("invalid_args", fields=[{"name": ["too long"]}, {"timeout": ["too small"]}]))]
    result = run("job", "create", "x", "--image", "busybox")
    assert "name: too long" in result.stderr
    assert "timeout: too small" in result.stderr


def test_a_server_that_is_away_is_exit_code_5(run):
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    result = run("job", "list", "--url", f"http://127.0.0.1:{port}")
    assert result.exit_code == 5
    assert result.stderr.strip().endswith("Connection refused")


def test_a_gateway_without_its_server_is_exit_code_5(server, run):
    server.refusals = [(502, "<html>Bad Gateway</html>")]
    assert run("job", "list").exit_code == 5


def test_a_site_that_is_no_jobd_is_told_apart(server, run):
    server.refusals = [(200, "<html>hello</html>"), (404, "<html>not found</html>"), (200, '{"hello": "world"}')]
    for result in (run("job", "list"), run("job", "list"), run("job", "list")):
        assert result.exit_code == 1
        assert "is not jobd" in result.stderr


def test_a_redirect_does_not_carry_the_token_elsewhere(server, run):
    server.refusals = [(302, "")]
    assert run("job", "list").exit_code == 1
    assert len(server.requests) == 1


@pytest.mark.parametrize("address", ["127.0.0.1:8080", "localhost", "ftp://example.com", "http:///v1"])
def test_an_address_that_is_none_is_wrong_usage_and_told_what_one_looks_like(run, address):
    result = run("job", "list", "--url", address)
    assert result.exit_code == 2
    assert "expected http://HOST:PORT" in result.stderr


def test_without_a_token_the_way_to_give_one_is_told(server, run, monkeypatch):
    monkeypatch.delenv("JOBD_TOKEN")
    result = run("job", "list")
    assert result.exit_code == 4
    assert "set JOBD_TOKEN, or give its file with --token-file" in result.stderr


def test_a_wrong_token_is_not_allowed(run, monkeypatch):
    monkeypatch.setenv("JOBD_TOKEN", "jobd_wrong")
    assert run("job", "list").exit_code == 4


def test_netrc_sends_no_password_in_the_place_of_a_token(run, home, monkeypatch):
    (home / ".netrc").write_text("machine 127.0.0.1 login me password secret\n")
    (home / ".netrc").chmod(0o600)
    assert run("job", "list").exit_code == 0


def test_a_proxy_is_not_asked_for_this_machine(run, monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    assert run("job", "list").exit_code == 0


def test_the_token_is_read_from_a_file(server, run, home, monkeypatch):
    monkeypatch.delenv("JOBD_TOKEN")
    (home / "token").write_text(f"{TOKEN}\n")
    assert run("job", "list", "--token-file", str(home / "token")).exit_code == 0


def test_cli_ini_says_where_and_who(server, run, home, monkeypatch):
    monkeypatch.delenv("JOBD_TOKEN")
    monkeypatch.delenv("JOBD_URL")
    folder = home / ".config/jobd"
    folder.mkdir(parents=True)
    (folder / "cli.ini").write_text(f"[cli]\nurl = {server.url}\ntoken_file = token\n")
    (folder / "token").write_text(TOKEN)
    assert run("job", "list").exit_code == 0


def test_a_flag_goes_before_the_environment_and_that_before_the_file(tmp_path):
    ini, one, two = tmp_path / "cli.ini", tmp_path / "one", tmp_path / "two"
    ini.write_text("[cli]\nurl = http://ini\ntoken_file = one\n")
    one.write_text("of-ini")
    two.write_text("of-flag")
    environ = {"JOBD_URL": "http://env", "JOBD_TOKEN": "of-env"}
    assert place("http://flag", two, environ, ini).__dict__ == {"url": "http://flag", "token": "of-flag"}
    assert place(None, None, environ, ini).__dict__ == {"url": "http://env", "token": "of-env"}
    assert place(None, None, {}, ini).__dict__ == {"url": "http://ini", "token": "of-ini"}
    assert place(None, None, {}, NOWHERE).__dict__ == {"url": DEFAULT_URL, "token": None}


@pytest.mark.parametrize(
    "text", ["[cli]\ntokenfile = x\n", "[other]\n", "no section\n", "[cli]\ntoken_file = absent\n"]
)
def test_a_wrong_cli_ini_is_wrong_usage(tmp_path, text):
    ini = tmp_path / "cli.ini"
    ini.write_text(text)
    with pytest.raises(Failure) as raised:
        place(None, None, {}, ini)
    assert raised.value.exit_code == 2


def test_no_option_takes_a_token(run):
    assert run("job", "list", "--token", TOKEN).exit_code == 2
