"""What Python 3.13 demands of certificates by default: the tests' own have it, and docs/webhooks.md names it."""

import re
import ssl
import subprocess
from contextlib import suppress
from pathlib import Path

import pytest

from tests.certificates import make_certificate
from tests.services import ROOT, require

TEXT = (ROOT / "docs" / "webhooks.md").read_text(encoding="utf-8")
(EXTENSIONS,) = re.findall(r"^```text\n(\[authority\]\n.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)


def shake_hands(trusted: Path, server: ssl.SSLContext, name: str) -> None:
    """Raises ssl.SSLError when a client as strict as Python 3.13's refuses the server's certificate."""
    client = ssl.create_default_context(cafile=str(trusted))
    client.verify_flags |= ssl.VERIFY_X509_STRICT | ssl.VERIFY_X509_PARTIAL_CHAIN
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [
        client.wrap_bio(to_client, to_server, server_hostname=name),
        server.wrap_bio(to_server, to_client, server_side=True),
    ]
    # The client's hello, the server's certificate, the client's judgement.
    for end in [*ends, *ends]:
        with suppress(ssl.SSLWantReadError):
            end.do_handshake()


def sign(folder: Path, extensions: str) -> tuple[Path, ssl.SSLContext]:
    """An authority's certificate, and a server whose own it has signed, with the sections of an OpenSSL file."""

    def openssl(*arguments: str) -> None:
        subprocess.run([require("openssl"), *arguments], cwd=folder, check=True, capture_output=True)

    (folder / "extensions").write_text(extensions)
    signed_by = {
        "authority": ["-signkey", "authority.key"],
        "receiver": ["-CA", "authority.crt", "-CAkey", "authority.key"],
    }
    curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    for name, signer in signed_by.items():
        openssl("req", *curve, "-nodes", "-subj", f"/CN={name}", "-keyout", f"{name}.key", "-out", "request")
        chosen = ["-extfile", "extensions", "-extensions", name]
        openssl("x509", "-req", "-in", "request", *signer, *chosen, "-set_serial", "1", "-out", f"{name}.crt")
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    server.load_cert_chain(folder / "receiver.crt", folder / "receiver.key")
    return folder / "authority.crt", server


def test_a_certificate_of_the_tests_passes_a_strict_check(tmp_path: Path) -> None:
    certificate, server = make_certificate(tmp_path)
    shake_hands(certificate, server, "localhost")


def test_a_certificate_with_the_extensions_of_the_page_passes_a_strict_check(tmp_path: Path) -> None:
    shake_hands(*sign(tmp_path, EXTENSIONS), "hook.example.com")


@pytest.mark.parametrize("line", [line for line in EXTENSIONS.splitlines() if "=" in line])
def test_without_one_of_the_extensions_of_the_page_it_does_not(tmp_path: Path, line: str) -> None:
    # OpenSSL adds the identifiers by itself unless it is told not to.
    instead = re.sub(r"\w+$", "none", line) if "KeyIdentifier" in line else ""
    # Without the authority's identifier OpenSSL itself refuses to name it in the other certificate.
    with pytest.raises((ssl.SSLCertVerificationError, subprocess.CalledProcessError)):
        shake_hands(*sign(tmp_path, EXTENSIONS.replace(line, instead)), "hook.example.com")
