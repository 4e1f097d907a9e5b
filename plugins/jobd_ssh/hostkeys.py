"""Checks a server's host key against known_hosts, whose format is described in sshd(8)."""

import binascii
import hmac
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import paramiko
from paramiko.hostkeys import HostKeyEntry, HostKeys, InvalidHostKey

from jobd_ssh.failures import LinkFailure

DEFAULT_FILES = (Path("~/.ssh/known_hosts"), Path("/etc/ssh/ssh_known_hosts"))
REVOKED = "@revoked"
RSA_SIGNATURES = ("rsa-sha2-512", "rsa-sha2-256")


@dataclass(frozen=True)
class Known:
    """The keys of one host in the known_hosts files."""

    name: str
    file: Path
    """The file to which a line should be added."""
    keys: tuple[paramiko.PKey, ...]
    revoked: tuple[paramiko.PKey, ...]

    def preferred(self, offered: Iterable[str]) -> list[str]:
        """Algorithms in the order of preference: first those for which a key is known."""
        known = {name for key in self.keys for name in _algorithms(key)}
        return sorted(offered, key=lambda algorithm: algorithm not in known)

    def check(self, key: paramiko.PKey) -> None:
        """Raises LinkFailure for an unknown key, with the line to add to known_hosts."""
        if key in self.revoked:
            raise LinkFailure(f"the host key of {self.name} ({_shown(key)}) is marked {REVOKED} in {self.file}")
        if key in self.keys:
            return
        line = f"{self.name} {key.get_name()} {key.get_base64()}"
        if not self.keys:
            raise LinkFailure(
                f"the host key of {self.name} ({_shown(key)}) is not known. "
                f"If it is the right one, add this line to {self.file}:\n{line}"
            )
        known = ", ".join(map(_shown, self.keys))
        raise LinkFailure(
            f"THE HOST KEY HAS CHANGED: {self.name} shows {_shown(key)}, known is {known}. Somebody may listen in, "
            f"or the machine was set up anew. If you know that it was, `ssh-keygen -f {self.file} -R '{self.name}'`, "
            f"and add this line to {self.file}:\n{line}"
        )


def look_up(host: str, port: int, file: Path | None) -> Known:
    """Read the files, each time anew, so that an added line takes effect with the next connection."""
    name = host if port == paramiko.config.SSH_PORT else f"[{host}]:{port}"
    files = [path.expanduser() for path in ((file,) if file else DEFAULT_FILES)]
    keys: list[paramiko.PKey] = []
    revoked: list[paramiko.PKey] = []
    for path in files:
        for marker, key in _entries(path, name):
            (revoked if marker == REVOKED else keys).append(key)
    return Known(name, files[0], tuple(keys), tuple(revoked))


def _entries(path: Path, name: str) -> Iterator[tuple[str, paramiko.PKey]]:
    """Marker and key of each line for a host. Certificate authorities are not supported."""
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return
    except OSError as error:
        raise LinkFailure(f"{path} cannot be read: {error.strerror}") from error
    for number, line in enumerate(text.splitlines(), 1):
        marker, _, rest = line.strip().partition(" ") if line.startswith("@") else ("", "", line.strip())
        if not rest or rest.startswith("#") or marker not in ("", REVOKED):
            continue
        try:
            entry = HostKeyEntry.from_line(rest, number)
        except (InvalidHostKey, paramiko.SSHException, binascii.Error, ValueError) as error:
            raise LinkFailure(f"{path}:{number} is not a line of a known_hosts file: {error}") from error
        if entry is not None and _applies(entry.hostnames or (), name):
            yield marker, entry.key


def _applies(patterns: Sequence[str], name: str) -> bool:
    excluded = any(_is(name, pattern[1:]) for pattern in patterns if pattern.startswith("!"))
    return not excluded and any(_is(name, pattern) for pattern in patterns)


def _is(name: str, pattern: str) -> bool:
    if pattern.startswith("|1|"):
        return hmac.compare_digest(HostKeys.hash_host(name, pattern), pattern)
    return re.fullmatch(re.escape(pattern).replace(r"\*", ".*").replace(r"\?", "."), name) is not None


def _algorithms(key: paramiko.PKey) -> tuple[str, ...]:
    return RSA_SIGNATURES if key.get_name() == "ssh-rsa" else (key.get_name(),)


def _shown(key: paramiko.PKey) -> str:
    return f"{key.algorithm_name} {key.fingerprint}"
