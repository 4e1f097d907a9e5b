"""A client that was written for the original service works against jobd, unchanged."""

import re
import subprocess
import sys
from pathlib import Path

from tests.e2e.conftest import MakeDaemon

CLIENT = Path(__file__).with_name("original_client.py")
USERNAME, PASSWORD = "chennanfei", "a long password"


def test_a_client_of_the_original_service_works(make_daemon: MakeDaemon, busybox_image: str, tmp_path: Path) -> None:
    daemon = make_daemon({"webhooks": "allow_networks = 127.0.0.1"}).start()
    add = [sys.executable, "-m", "jobd", "user", "add", USERNAME, "-c", daemon.ini]
    subprocess.run(add, input=PASSWORD, text=True, check=True, capture_output=True)
    # -I: neither this clone nor PYTHONPATH is there to import from.
    client = [sys.executable, "-I", CLIENT, f"http://127.0.0.1:{daemon.port}", USERNAME, USERNAME, PASSWORD]
    ran = subprocess.run([*client, busybox_image], cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert ran.returncode == 0, f"{ran.stdout}\n{ran.stderr}\n{daemon.evidence()}"
    assert ran.stdout.splitlines()[2:] == ["updated", "ran: hello from 127.0.0.1", "told: job:fail F", "deleted"]


def test_the_client_knows_no_code_of_jobds() -> None:
    imported = re.findall(r"^(?:from|import) (\w+)", CLIENT.read_text(encoding="utf-8"), re.MULTILINE)
    assert {*imported} - sys.stdlib_module_names == {"requests"}
