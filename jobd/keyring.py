"""The key file and its keys: a value that was sealed with a key can be opened only with that key, and only where it
belongs.

The file holds one key on each line, `ID KEY`, the oldest first. KEY is 256 bits in base64, ID the beginning of its
SHA-256, so that a damaged line is recognized. The database says which of the keys seals new values, for all daemons
alike; the others are for values that were sealed before, or will be.

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
    """The key is right, but the value is not what was sealed, or does not belong in this place."""


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
        """Encrypt a value. `place` is not stored, but must be the same to open the value again."""
        nonce = secrets.token_bytes(NONCE)
        return nonce + AESGCM(self.secret).encrypt(nonce, value.encode(), place.encode())

    def open(self, sealed: bytes, place: str) -> str:
        """Decrypt a value. Raises NotOpened."""
        try:
            return AESGCM(self.secret).decrypt(sealed[:NONCE], sealed[NONCE:], place.encode()).decode()
        except (InvalidTag, ValueError):
            raise NotOpened("it was sealed for another place, or changed since") from None


class Keyring:
    """The keys in a file. The file is read again if it has changed and a key is missing. Safe to use
    from any thread.
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
        """The key with this id. Raises KeyMissing, and ConfigError if the file must not be used."""
        with self._lock:
            if id not in self._keys and self.exists and self._seen != _look(self.path):
                self._read()
            if id not in self._keys:
                raise KeyMissing(
                    f"{self.path} {'does not have' if self.exists else 'is missing, and with it'} key {id}"
                )
            return self._keys[id]

    def read(self) -> list[Key]:
        """All keys that the file has now, the oldest first; none if there is no file. Raises ConfigError."""
        with self._lock:
            self._keys = {}
            if self.exists:
                self._read()
            return list(self._keys.values())

    def ensure_key(self) -> Key:
        """The newest key of the file, which is created with a first key unless it exists. Raises ConfigError."""
        if not self.exists:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            new_file = _written(self.path, [Key.new()])
            try:
                # Unlike a rename this fails if another process was quicker, whose key is then the one to use.
                with contextlib.suppress(FileExistsError):
                    os.link(new_file, self.path)
            finally:
                new_file.unlink()
            _sync_folder(self.path.parent)
        return self.read()[-1]

    def replace(self, keys: list[Key]) -> None:
        """Write these keys to the file, which keeps its owner. All or nothing, whatever happens meanwhile."""
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
        """Reading adds keys and removes none: a value may have been sealed with a key that is gone from the file."""
        seen = _look(self.path)
        self._keys |= {key.id: key for key in _parsed(self.path)}
        self._seen = seen


def _look(path: Path) -> tuple[int, ...]:
    """What distinguishes a changed file from the former one."""
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
    """A new file beside `path` with these keys, complete and synced to the disk."""
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
