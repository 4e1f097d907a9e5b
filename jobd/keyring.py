"""The key file, and what its keys do: a value sealed with one can be read only with it, and only where it belongs.

The file holds a key a line, `ID KEY`, the oldest first, KEY being 256 bits in base64 and ID the beginning of its
SHA-256, so that a damaged line is known as such. Which of the keys is used for new values the database says, for all
daemons alike; the others are for values that were sealed before, or will be.

Values are sealed with AES-256-GCM (NIST SP 800-38D): a random nonce of 96 bits, the ciphertext, the tag.
"""

import base64
import binascii
import contextlib
import hashlib
import os
import secrets
import stat
import threading
import uuid
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from jobd.errors import ConfigError, JobdError

KEY = 32
NONCE = 12
MAX_FILE = 65536
"""Bytes."""


class KeyMissing(JobdError):
    """The key file has no key of this id, or there is no key file."""


class NotOpened(JobdError):
    """The key is right, and the value is not what was sealed, or not for this place."""


@dataclass(frozen=True)
class Key:
    secret: bytes = field(repr=False)

    @property
    def id(self) -> str:
        return hashlib.sha256(b"jobd secret key " + self.secret).hexdigest()[:16]

    @classmethod
    def new(cls) -> "Key":
        return cls(secrets.token_bytes(KEY))

    def seal(self, value: str, place: str) -> bytes:
        """`place` is not kept, but must be the same to open it again."""
        nonce = secrets.token_bytes(NONCE)
        return nonce + AESGCM(self.secret).encrypt(nonce, value.encode(), place.encode())

    def open(self, sealed: bytes, place: str) -> str:
        """Raises NotOpened."""
        try:
            return AESGCM(self.secret).decrypt(sealed[:NONCE], sealed[NONCE:], place.encode()).decode()
        except (InvalidTag, ValueError):
            raise NotOpened("it was sealed for another place, or changed since") from None


class Keyring:
    """The keys in a file. A file that was changed is read again when a key is asked for that it did not have. Used by
    any number of threads.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._keys: dict[str, Key] = {}
        self._seen: tuple[int, ...] | None = None

    @property
    def exists(self) -> bool:
        return self.path.exists()

    def key(self, id: str) -> Key:
        """Raises KeyMissing; ConfigError when the file must not be used."""
        with self._lock:
            if id not in self._keys and self.exists and self._seen != _look(self.path):
                self._read()
            if id not in self._keys:
                raise KeyMissing(
                    f"{self.path} {'does not have' if self.exists else 'is missing, and with it'} key {id}"
                )
            return self._keys[id]

    def read(self) -> list[Key]:
        """All keys of the file as it is now, the oldest first; none without a file. Raises ConfigError."""
        with self._lock:
            self._keys = {}
            if self.exists:
                self._read()
            return list(self._keys.values())

    def make(self) -> Key:
        """The newest key of the file, made with its first key if it is not there. Raises ConfigError."""
        if not self.exists:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            new_file = _written(self.path, [Key.new()])
            try:
                # Unlike a renaming this fails when another process was quicker, whose key is then the one.
                with contextlib.suppress(FileExistsError):
                    os.link(new_file, self.path)
            finally:
                new_file.unlink()
            _sync_folder(self.path.parent)
        return self.read()[-1]

    def replace(self, keys: list[Key]) -> None:
        """Make these the keys of the file, which stays its owner's. All or nothing, whatever happens meanwhile."""
        path = self.path.resolve()
        before = path.stat()
        new_file = _written(path, keys)
        try:
            if os.geteuid() == 0:
                os.chown(new_file, before.st_uid, before.st_gid)
            new_file.replace(path)
        except OSError:
            new_file.unlink()
            raise
        _sync_folder(path.parent)

    def _read(self) -> None:
        """What is read becomes more, never less: a value may have been handed out sealed with what is gone now."""
        seen = _look(self.path)
        self._keys |= {key.id: key for key in _parsed(self.path)}
        self._seen = seen


def _look(path: Path) -> tuple[int, ...]:
    """What tells a changed file from the one before."""
    status = path.stat()
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def _parsed(path: Path) -> list[Key]:
    try:
        with path.open("rb") as file:
            status = os.fstat(file.fileno())
            data = file.read(MAX_FILE)
    except OSError as error:
        raise ConfigError(f"{path}: the key file cannot be read: {error.strerror}") from error
    if status.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        mode = f"{stat.S_IMODE(status.st_mode):04o}"
        raise ConfigError(f"{path}: others may read or change the key file (mode {mode}); run chmod 600 on it")
    keys = []
    for number, line in enumerate(data.decode("latin-1").splitlines(), 1):
        id, _, text = line.strip().partition(" ")
        try:
            key = Key(base64.b64decode(text, validate=True))
        except binascii.Error:
            key = Key(b"")
        if len(key.secret) != KEY or key.id != id:
            raise ConfigError(f"{path}, line {number}: the key is damaged; restore the file from a copy")
        keys.append(key)
    if not keys:
        raise ConfigError(f"{path}: the key file is empty; restore it from a copy")
    return keys


def _written(path: Path, keys: list[Key]) -> Path:
    """A file beside `path` that holds these keys, complete and on the disk."""
    new_file = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    with open(os.open(new_file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="ascii") as file:
        file.writelines(f"{key.id} {base64.b64encode(key.secret).decode()}\n" for key in keys)
        file.flush()
        os.fsync(file.fileno())
    return new_file


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
