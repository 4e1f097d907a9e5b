"""A daemon's own files: for its user alone, and a database that was emptied is no new one."""

import os
import signal
import stat
import subprocess
from pathlib import Path

import pytest

from tests.cli.conftest import PROGRAM
from tests.services import missing, require


@pytest.fixture
def serve(ini):
    """Start a daemon as from a shell with `umask 0`, and wait until it serves or has ended; what it has logged."""
    started = []

    def start():
        process = subprocess.Popen([*PROGRAM, "serve"], stderr=subprocess.PIPE, text=True, umask=0)
        started.append(process)
        log = ""
        for line in process.stderr:
            log += line
            if "listens" in line:
                return log
        return log

    yield start
    for process in started:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=30)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_daemons_files_are_for_its_user_alone_whatever_the_umask(ini, serve):
    assert "listens" in serve()
    folder = ini.parent / "var"
    modes = {path.name: mode(path) for path in folder.iterdir()}
    assert mode(folder) == 0o700
    assert {"jobd.db", "jobd.db-wal", "jobd.db-shm", "secret.key", "admin.token", "daemon.id"} <= modes.keys()
    assert set(modes.values()) == {0o600}


def test_so_are_those_that_a_command_makes(ini, run):
    before = os.umask(0)
    try:
        assert run("migrate").exit_code == 0
        assert os.umask(0) == 0, "the umask is as before"
    finally:
        os.umask(before)
    assert (mode(ini.parent / "var"), mode(ini.parent / "var/jobd.db")) == (0o700, 0o600)


def test_what_was_open_to_others_is_closed_at_a_start_and_told(ini, run, serve):
    assert run("migrate").exit_code == 0
    folder = ini.parent / "var"
    folder.chmod(0o755)
    (folder / "jobd.db").chmod(0o640)
    (folder / "notes.txt").write_text("not jobd's")
    (folder / "notes.txt").chmod(0o644)
    log = serve()
    assert f"{folder} was open to other users of this machine (mode 0755); now it is not" in log
    assert f"{folder / 'jobd.db'} was open to other users of this machine (mode 0640); now it is not" in log
    assert (mode(folder), mode(folder / "jobd.db"), mode(folder / "notes.txt")) == (0o700, 0o600, 0o644)


@pytest.mark.parametrize("sign", ["daemon.id", "secret.key"])
def test_an_emptied_database_stops_the_start_and_stays_as_it_is(ini, run, serve, sign):
    folder = ini.parent / "var"
    folder.mkdir()
    (folder / "jobd.db").touch()
    (folder / sign).write_text("of an earlier start\n")
    (folder / sign).chmod(0o600)
    for said in (serve(), run("migrate").stderr, run("user", "list").stderr):
        assert f"{folder / 'jobd.db'} is empty, but {folder / sign} shows" in said
        assert "put back a copy" in said
        assert "Traceback" not in said
    assert (folder / "jobd.db").stat().st_size == 0


def test_an_empty_file_is_a_new_database_where_none_was_before(ini, serve):
    (ini.parent / "var").mkdir()
    (ini.parent / "var/jobd.db").touch()
    assert "listens" in serve()


@pytest.mark.parametrize("was_there", [True, False])
def test_a_start_on_a_full_disk_says_so(ini, run, serve, was_there):
    if os.geteuid() != 0:
        missing("root, to mount a file system")
    folder = ini.parent / "var"
    folder.mkdir()
    subprocess.run([require("mount"), "-t", "tmpfs", "-o", "size=1m", "jobd-test", folder], check=True)
    try:
        if was_there:
            assert run("migrate").exit_code == 0
        ballast = folder / "ballast"
        with ballast.open("wb", buffering=0) as out, pytest.raises(OSError, match="No space"):
            while out.write(bytes(4096)):
                pass
        log = serve()
        assert "No space left on device" in log or "the database's disk is full" in log, log
        assert "Traceback" not in log
        ballast.unlink()
        assert "listens" in serve()
    finally:
        subprocess.run([require("umount"), "--lazy", folder], check=True)
