"""Who the server is and who signs in: what is refused, and whether the words help."""

import os
import shutil
import socket
import subprocess
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pydantic import ValidationError

from jobd.errors import RegionUnavailable
from jobd.executor import Region
from jobd_ssh.executor import SshExecutor
from jobd_ssh.options import SshOptions
from tests.plugins.sshd import Sshd, fingerprint, make_key, public
from tests.services import free_port, missing, require, wait_for

MakeSshd = Callable[..., Sshd]


@pytest.fixture
def make_sshd(tmp_path: Path) -> Iterator[MakeSshd]:
    made: list[Sshd] = []

    def make(settings: str = "", authorized: str = "") -> Sshd:
        folder = tmp_path / f"sshd{len(made)}"
        folder.mkdir()
        made.append(Sshd(folder, settings, authorized))
        return made[-1].start()

    yield make
    for server in made:
        server.stop()


def refusal(executor: SshExecutor) -> str:
    """The words of an unavailable region."""
    try:
        with pytest.raises(RegionUnavailable) as told:
            executor.identity()
        return told.value.message
    finally:
        executor.close()


def test_an_unknown_host_is_refused_with_the_line_that_makes_it_known(make_sshd: MakeSshd):
    server = make_sshd()
    server.known_hosts.write_text("")
    executor = server.executor()
    health = executor.check()
    assert not health.ok
    assert fingerprint(server.host_key) in health.message
    assert f"is not known. If it is the right one, add this line to {server.known_hosts}:\n" in health.message
    line = health.message.splitlines()[-1]
    assert line == f"{server.name} {public(server.host_key)}"
    server.known_hosts.write_text(f"{line}\n")
    wait_for(lambda: executor.check().ok, "the line to count without a restart")
    executor.close()


def test_a_changed_host_key_is_refused_with_both_fingerprints_and_the_new_line(make_sshd: MakeSshd, tmp_path: Path):
    server = make_sshd()
    former = make_key(tmp_path / "former")
    server.know(former)
    words = refusal(server.executor())
    assert "THE HOST KEY HAS CHANGED" in words
    assert fingerprint(former) in words
    assert fingerprint(server.host_key) in words
    assert f"`ssh-keygen -f {server.known_hosts} -R '{server.name}'`" in words
    assert words.splitlines()[-1] == f"{server.name} {public(server.host_key)}"
    assert server.sign_ins() == 0


def test_hashed_names_and_a_second_key_of_a_host_count(make_sshd: MakeSshd, tmp_path: Path):
    server = make_sshd()
    other = make_key(tmp_path / "other")
    server.known_hosts.write_text(f"# two\n{server.name} {public(other)}\n{server.name} {public(server.host_key)}\n")
    subprocess.run([require("ssh-keygen"), "-q", "-H", "-f", server.known_hosts], check=True, capture_output=True)
    assert "127.0.0.1" not in server.known_hosts.read_text()
    executor = server.executor()
    assert executor.check().ok, server.evidence()
    executor.close()


def test_the_kind_of_key_that_is_known_is_asked_for(make_sshd: MakeSshd, tmp_path: Path):
    rsa = make_key(tmp_path / "rsa", "rsa")
    server = make_sshd(f"HostKey {rsa}")
    server.know(rsa)
    executor = server.executor()
    assert executor.check().ok, server.evidence()
    executor.close()


def test_a_revoked_host_key_is_refused_although_it_is_known(make_sshd: MakeSshd):
    server = make_sshd()
    server.known_hosts.write_text(server.known_hosts.read_text() + f"@revoked * {public(server.host_key)}\n")
    assert "is marked @revoked" in refusal(server.executor())


def test_a_wrong_key_is_told_with_its_fingerprint(make_sshd: MakeSshd, tmp_path: Path):
    server = make_sshd()
    wrong = make_key(tmp_path / "wrong")
    words = refusal(server.executor(identity_file=wrong))
    assert f"does not let {server.user} sign in with {wrong} ({fingerprint(wrong)})" in words
    assert "authorized_keys" in words


def test_a_key_that_cannot_be_used_is_told_before_it_is_shown(make_sshd: MakeSshd, tmp_path: Path):
    server = make_sshd()
    locked = make_key(tmp_path / "locked", passphrase="secret")
    none = tmp_path / "none"
    none.write_text("no key\n")
    for file, words in (
        (tmp_path / "absent", "absent cannot be read: No such file or directory"),
        (locked, "locked has a passphrase: let an ssh-agent hold it"),
        (none, "none is not a usable private key"),
    ):
        assert words in refusal(server.executor(identity_file=file))


@pytest.mark.parametrize("kind", ["rsa", "ecdsa"])
def test_keys_of_every_kind_sign_in(make_sshd: MakeSshd, tmp_path: Path, kind: str):
    server = make_sshd()
    key = make_key(tmp_path / kind, kind)
    (server.folder / "authorized_keys").write_text(f"{public(key)}\n")
    executor = server.executor(identity_file=key)
    assert executor.check().ok, server.evidence()
    executor.close()


def test_the_agent_signs_in(make_sshd: MakeSshd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    server = make_sshd()
    address = f"/tmp/jobd-{uuid.uuid4().hex[:8]}"
    agent = subprocess.Popen([require("ssh-agent"), "-D", "-a", address], stdout=subprocess.DEVNULL)
    monkeypatch.setenv("SSH_AUTH_SOCK", address)
    try:
        wait_for(Path(address).exists, "ssh-agent")
        assert "the ssh-agent has no keys" in refusal(server.executor(identity_file=None, agent=True))
        for key in (make_key(tmp_path / "another"), server.key):
            subprocess.run(["ssh-add", "-q", key], check=True)
        executor = server.executor(identity_file=None, agent=True)
        assert executor.check().ok, server.evidence()
        executor.close()
    finally:
        agent.terminate()
        agent.wait()


def test_a_closed_port_and_an_unknown_name_are_told():
    keys = {"identity_file": "/none", "known_hosts": "/none"}
    port = free_port()
    assert f"nothing listens on port {port} of 127.0.0.1" in refusal(_executor(host=f"127.0.0.1:{port}", **keys))
    assert "the name no-such-host.invalid cannot be resolved" in refusal(_executor(host="no-such-host.invalid", **keys))


def test_a_server_that_says_nothing_or_hangs_up_is_told_in_time():
    keys = {"identity_file": "/none", "known_hosts": "/none", "connect_timeout": 1}
    with socket.create_server(("127.0.0.1", 0)) as server:
        began = time.monotonic()
        words = refusal(_executor(host=f"127.0.0.1:{server.getsockname()[1]}", **keys))
        assert time.monotonic() - began < 5
        assert "does not speak SSH" in words

        def hang_up() -> None:
            for _ in range(2):
                server.accept()[0].close()

        hanging_up = threading.Thread(target=hang_up, daemon=True)
        hanging_up.start()
        assert "MaxStartups" in refusal(_executor(host=f"127.0.0.1:{server.getsockname()[1]}", **keys))


def test_a_host_that_swallows_everything_is_told_in_time():
    # a full backlog: the system drops what comes
    with socket.create_server(("127.0.0.1", 0), backlog=0) as server:
        address = server.getsockname()
        fillers = [socket.socket() for _ in range(4)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(address)
        began = time.monotonic()
        executor = _executor(host=f"127.0.0.1:{address[1]}", identity_file="/none", connect_timeout=1)
        assert f"does not answer on port {address[1]} within 1 s" in refusal(executor)
        assert time.monotonic() - began < 5
        for filler in fillers:
            filler.close()


def test_a_server_that_is_away_is_not_stormed():
    accepted: list[float] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def hang_up() -> None:
            while True:
                try:
                    server.accept()[0].close()
                except OSError:
                    return
                accepted.append(time.monotonic())

        threading.Thread(target=hang_up, daemon=True).start()
        executor = _executor(host=f"127.0.0.1:{server.getsockname()[1]}", identity_file="/none")
        until = time.monotonic() + 2
        asked = 0
        while time.monotonic() < until:
            with pytest.raises(RegionUnavailable):
                executor.list()
            asked += 1
        assert asked > 100
        assert 2 <= len(accepted) <= 6
        executor.close()
        server.shutdown(socket.SHUT_RDWR)


def test_a_socket_that_is_absent_is_told(make_sshd: MakeSshd):
    server = make_sshd()
    words = refusal(server.executor(socket="/no/such.sock", transport="streamlocal"))
    assert "there is no /no/such.sock on the far side" in words
    words = refusal(server.executor(socket="/no/such.sock", docker=require("docker-cli")))
    assert "dial unix /no/such.sock: connect: no such file or directory" in words


def test_a_server_without_forwarding_and_without_docker_is_told(make_sshd: MakeSshd):
    server = make_sshd("AllowStreamLocalForwarding no")
    words = refusal(server.executor(transport="streamlocal"))
    assert "AllowStreamLocalForwarding" in words
    assert "transport = dial-stdio helps" in words
    words = refusal(server.executor(docker="/no/such/docker"))
    assert (
        "`/no/such/docker -H unix:///var/run/docker.sock system dial-stdio` on the far side ended (exit code" in words
    )
    assert "No such file or directory" in words


@pytest.fixture
def stranger() -> Iterator[str]:
    """A user of the system's who may not use Docker."""
    if os.geteuid() != 0 or shutil.which("useradd", path="/usr/sbin:/sbin") is None:
        missing("root and useradd, for a user who may not use Docker")
    name = f"jobd{uuid.uuid4().hex[:8]}"
    # `*` is no password; without it the account is locked and sshd refuses it
    subprocess.run(["/usr/sbin/useradd", "-M", "-N", "-p", "*", "-s", "/bin/sh", name], check=True)
    yield name
    wait_for(lambda: subprocess.run(["/usr/sbin/userdel", name], capture_output=True).returncode == 0, "userdel")


def test_a_user_who_may_not_use_the_socket_is_told(make_sshd: MakeSshd, stranger: str):
    server = make_sshd()
    # the far user reads it
    for folder in (server.folder, *server.folder.parents):
        if folder.stat().st_uid == os.getuid() and folder != Path("/"):
            folder.chmod(folder.stat().st_mode | 0o011)
    (server.folder / "authorized_keys").chmod(0o644)
    words = refusal(server.executor(host=f"{stranger}@127.0.0.1:{server.port}", transport="streamlocal"))
    assert f"{stranger} may not use" in words, server.evidence()
    assert "permission denied" in words
    server.stop()


@pytest.mark.parametrize("host", ["", "a b", "ssh://a@b", "a@b:0", "a@b:70000", "a@b/c", "::1"])
def test_a_host_that_is_none_is_refused(host: str):
    with pytest.raises(ValidationError, match="USER@HOST"):
        _executor(host=host, identity_file="/none")


def test_hosts_are_read_as_ssh_reads_them():
    read = [
        (options.user, *options.address)
        for options in (
            _executor(host=host, identity_file="/none").region.options
            for host in ("ann@10.0.0.5", "ann@[fe80::1]:2222", "ann@docker-1.example.com:22")
        )
    ]
    assert read == [("ann", "10.0.0.5", 22), ("ann", "fe80::1", 2222), ("ann", "docker-1.example.com", 22)]


def test_nothing_to_sign_in_with_stops_the_start():
    with pytest.raises(ValidationError, match="`identity_file` is missing"):
        _executor(host="ann@10.0.0.5")


def _executor(**options: object) -> SshExecutor:
    return SshExecutor(Region("SSH", "nobody", SshOptions(**options)))
