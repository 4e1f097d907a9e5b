"""conf/nginx.conf in front of a daemon: TLS, the caller's address, logs that come as they are written."""

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.certificates import make_certificate
from tests.e2e.daemon import Daemon
from tests.services import ROOT, free_port, require, wait_for_port

FORGED = {"X-Forwarded-For": "192.0.2.1", "X-Real-IP": "192.0.2.2", "Forwarded": "for=192.0.2.3"}
MAIN = """
daemon off; pid {folder}/pid; error_log stderr; events {{ }}
http {{
    access_log off;
    client_body_temp_path {folder}; proxy_temp_path {folder}; fastcgi_temp_path {folder};
    uwsgi_temp_path {folder}; scgi_temp_path {folder};
    include {folder}/jobd.conf;
}}
"""


class Proxy:
    """Speaks HTTPS to nginx, as the name that its certificate has."""

    def __init__(self, folder: Path, daemon: Daemon) -> None:
        self.folder = folder
        self.daemon = daemon
        self.port, self.plain_port = free_port(), free_port()
        places = {
            "127.0.0.1:8080": f"127.0.0.1:{daemon.port}",
            "listen 80;": f"listen 127.0.0.1:{self.plain_port};",
            "listen 443 ssl;": f"listen 127.0.0.1:{self.port} ssl;",
            "/etc/ssl/jobd": str(folder),
        }
        shipped = (ROOT / "conf" / "nginx.conf").read_text(encoding="utf-8")
        for shown, place in places.items():
            assert shown in shipped
            shipped = shipped.replace(shown, place)
        without_ipv6 = re.sub(r"^ +listen \[::\].*\n", "", shipped, flags=re.MULTILINE)
        (folder / "jobd.conf").write_text(without_ipv6, encoding="utf-8")
        (folder / "nginx.conf").write_text(MAIN.format(folder=folder), encoding="utf-8")
        certificate, _ = make_certificate(folder)
        certificate.rename(folder / "fullchain.pem")
        certificate.with_suffix(".key").rename(folder / "privkey.pem")

    def call(self, method: str, path: str, **more: Any) -> requests.Response:
        headers = {"Authorization": f"Token {self.daemon.token}", **FORGED}
        url = f"https://localhost:{self.port}{path}"
        return requests.request(
            method, url, headers=headers, verify=str(self.folder / "fullchain.pem"), timeout=30, **more
        )


@pytest.fixture
def proxy(tmp_path: Path) -> Iterator[Proxy]:
    nginx = require("nginx")
    jobd, folder = tmp_path / "jobd", tmp_path / "nginx"
    jobd.mkdir()
    folder.mkdir()
    settings = {"region:BEIJING1": "executor = dry-run"}
    daemon = Daemon(jobd, settings).start()
    made = Proxy(folder, daemon)
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([nginx, "-p", folder, "-c", folder / "nginx.conf"], stdout=log, stderr=log)
    try:
        wait_for_port(made.port, process, folder / "log")
        yield made
    finally:
        process.terminate()
        process.wait()
        daemon.stop()


def test_nginx_as_shipped_tells_who_asks_and_holds_nothing_back(proxy: Proxy) -> None:
    moved = requests.get(f"http://127.0.0.1:{proxy.plain_port}/v1/jobs", allow_redirects=False, timeout=30)
    assert (moved.status_code, moved.headers["Location"][:8]) == (301, "https://")
    assert proxy.call("GET", "/metrics").status_code == 404

    talks = {"name": "talks", "docker_image_repo": "busybox", "command": "sh -c 'echo first; sleep 600'"}
    made = [proxy.call("POST", "/v1/jobs", json=talks) for _ in range(2)]
    assert [answer.status_code for answer in made] == [201, 201], made[0].text
    page = proxy.call("GET", "/v1/jobs?page_size=1").json()
    assert page["next"].startswith(f"https://localhost:{proxy.port}/v1/jobs?")
    told = proxy.call("GET", "/v1/audit").json()["results"][0]
    assert (told["action"], told["address"]) == ("job.create", "127.0.0.1")

    job = made[0].json()["id"]
    exec_id = proxy.call("POST", f"/v1/jobs/{job}/execs").json()["id"]
    followed = proxy.call("GET", f"/v1/jobs/{job}/execs/{exec_id}/logs?follow=1", stream=True)
    assert next(followed.iter_lines()) == b"first"
    assert proxy.call("GET", f"/v1/jobs/{job}/execs/{exec_id}").json()["status"] == "R"
    followed.close()
    proxy.call("DELETE", f"/v1/jobs/{job}")
