"""The settings in jobd.ini, as frozen models: each field is a key with its default.

Every key is described in docs/configuration.md and in jobd.ini; a test compares them.
"""

import ipaddress
import os
import re
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, ValidationInfo

DURATION_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}
BYTE_UNITS = {"": 1, "B": 1, "KB": 2**10, "MB": 2**20, "GB": 2**30}
MAX_DURATION = 36500 * 86400
"""Seconds. A century can be added to any date that occurs."""


def parse_duration(value: Any) -> Any:
    """Seconds from `10`, `10s`, `5m`, `24h` or `90d`. Returns anything but a string unchanged."""
    if not isinstance(value, str):
        return value
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smhd]?)", value, re.ASCII)
    if not match:
        raise ValueError(f"`{value}` is not a duration; expected seconds, or a number with s, m, h or d, as in 90d")
    return float(match[1]) * DURATION_UNITS[match[2]]


def parse_bytes(value: Any) -> Any:
    """Bytes from `1048576`, `10MB` or `64 KB`; 1 KB is 1024 bytes. Returns anything but a string unchanged."""
    if not isinstance(value, str):
        return value
    match = re.fullmatch(r"(\d{1,15})\s*([KMG]?B|)", value, re.ASCII | re.IGNORECASE)
    if not match:
        raise ValueError(
            f"`{value}` is not a number of bytes; expected bytes, or a number with KB, MB or GB, as in 10MB"
        )
    return int(match[1]) * BYTE_UNITS[match[2].upper()]


Duration = Annotated[float, BeforeValidator(parse_duration), Field(gt=0, le=MAX_DURATION, allow_inf_nan=False)]
Seconds = Annotated[int, BeforeValidator(parse_duration), Field(ge=1, le=MAX_DURATION)]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Listen(_Frozen):
    """An address to serve on; `host` is without the brackets of IPv6."""

    host: str
    port: int = Field(ge=0, le=65535)

    @property
    def loopback(self) -> bool:
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_listen(value: Any) -> Any:
    """A Listen from `127.0.0.1:8080`, `[::1]:8080` or `localhost:8080`. Returns anything but a string unchanged."""
    if not isinstance(value, str):
        return value
    match = re.fullmatch(r"(?:\[(?P<six>[^\]]+)\]|(?P<host>[\w.-]+)):(?P<port>\d{1,5})", value, re.ASCII)
    try:
        if not match or int(match["port"]) > 65535:
            raise ValueError
        if match["six"]:
            ipaddress.IPv6Address(match["six"])
    except ValueError:
        raise ValueError(
            f"`{value}` is not an address; expected HOST:PORT, as in 127.0.0.1:8080 or [::1]:8080"
        ) from None
    return Listen(host=match["six"] or match["host"], port=int(match["port"]))


def _base(info: ValidationInfo) -> Path:
    return info.context["base"] if info.context else Path.cwd()


def parse_url(value: Any, info: ValidationInfo) -> Any:
    """A database URL, with SQLite's path made absolute. Messages do not repeat the URL, which may have a password."""
    if not isinstance(value, str):
        return value
    scheme, separator, rest = value.partition("://")
    if scheme == "sqlite" and separator:
        path = rest.removeprefix("/")
        if not rest.startswith("/") or not path or path == ":memory:" or set(path) & set("?#"):
            raise ValueError("is not the path of a SQLite file; expected a URL such as sqlite:///var/jobd.db")
        return f"sqlite:///{absolute(_base(info), path)}"
    try:
        parts = urlsplit(value)
        is_valid = parts.scheme == "postgresql" and len(parts.path) > 1 and parts.port != 0
    except ValueError:
        is_valid = False
    if not is_valid:
        raise ValueError(
            "is not a database URL; expected one such as sqlite:///var/jobd.db or "
            "postgresql://user:password@host/dbname"
        )
    return value


def absolute(base: Path, path: str | Path) -> Path:
    """`path` relative to `base`, the INI file's folder; `~` is the home folder."""
    return base / os.path.expanduser(path)


def parse_network(value: Any) -> Any:
    """A network from `10.0.0.0/8`, `fd00::/8` or a single address. Returns anything but a string unchanged."""
    if not isinstance(value, str):
        return value
    try:
        return ipaddress.ip_network(value)
    except ValueError as error:
        raise ValueError(f"`{value}` is not a network ({error}); expected one such as 10.0.0.0/8 or fd00::/8") from None


Network = Annotated[ipaddress.IPv4Network | ipaddress.IPv6Network, BeforeValidator(parse_network)]
LOOPBACK = (ipaddress.ip_network("127.0.0.0/8"), ipaddress.ip_network("::1"))


class Jobd(_Frozen):
    listen: Annotated[Listen, BeforeValidator(parse_listen)] = Listen(host="127.0.0.1", port=8080)
    data_dir: Path = Path("var")
    default_region: str = "BEIJING1"
    trusted_proxies: tuple[Network, ...] = LOOPBACK

    @property
    def key_file(self) -> Path:
        """The keys that `secret_vars` are encrypted with."""
        return self.data_dir / "secret.key"


class Database(_Frozen):
    url: Annotated[str, BeforeValidator(parse_url)] = Field(
        default="sqlite:///var/jobd.db", repr=False, validate_default=True
    )
    connections: int = Field(default=8, ge=1, le=1000)

    @property
    def sqlite_path(self) -> Path | None:
        """The SQLite file, or None on PostgreSQL."""
        return Path(self.url.removeprefix("sqlite:///")) if self.url.startswith("sqlite:") else None

    @property
    def url_without_password(self) -> str:
        return re.sub(r"([?&]password=)[^&]*", r"\1***", re.sub(r"(://[^/@:]*):[^/]*@", r"\1@", self.url))


class Auth(_Frozen):
    mode: Literal["token", "none"] = "token"


def parse_origins(value: Any) -> Any:
    """Origins as browsers send them (RFC 6454, 6.2), separated by blanks or commas. Returns anything but a string
    unchanged.
    """
    if not isinstance(value, str):
        return value
    origins = re.split(r"[,\s]+", value.strip()) if value.strip() else []
    for origin in origins:
        if not re.fullmatch(r"https?://(?:[a-z0-9.-]+|\[[0-9a-f:.]+\])(?::[0-9]{1,5})?", origin, re.ASCII):
            raise ValueError(f"`{origin}` is not an origin; expected SCHEME://HOST or SCHEME://HOST:PORT in lower case")
    return tuple(origins)


class Api(_Frozen):
    cors_origins: Annotated[tuple[str, ...], BeforeValidator(parse_origins)] = ()


class Scheduler(_Frozen):
    tick: Duration = 0.5
    late_after: Duration = 60.0
    lease: Annotated[float, BeforeValidator(parse_duration), Field(ge=1, le=3600, allow_inf_nan=False)] = 15.0


class Execs(_Frozen):
    timeout: Seconds = 86400
    stop_grace: Annotated[int, BeforeValidator(parse_duration), Field(ge=0, le=3600)] = 10
    max_log: Annotated[int, BeforeValidator(parse_bytes), Field(ge=2**10, le=2**30)] = 10 * 2**20
    kept: int = Field(default=100, ge=1, le=1_000_000)
    max_age: Seconds = 90 * 86400
    queue_deadline: Seconds = 86400


class Log(_Frozen):
    format: Literal["text", "json"] = "text"
    level: Literal["debug", "info", "warning", "error"] = "info"


class Size(_Frozen):
    """`cpus` of one core each, `memory` in bytes (Docker refuses less than 6 MB)."""

    cpus: float = Field(ge=0.01, le=1024, allow_inf_nan=False)
    memory: int = Field(ge=6 * 2**20, le=2**44)


def parse_size(text: str) -> Size:
    """A Size from text such as `0.15 cpu, 64 MB`. Raises ValueError."""
    cpus, _, memory = text.partition(",")
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*cpus?", cpus.strip(), re.ASCII | re.IGNORECASE)
    try:
        if not match:
            raise ValueError
        return Size(cpus=float(match[1]), memory=parse_bytes(memory.strip()))
    except ValueError:
        raise ValueError(
            f"`{text}` is not a size; expected at least 0.01 cpu and 6 MB, as in 0.25 cpu, 128 MB"
        ) from None


class Limits(_Frozen):
    max_body: Annotated[int, BeforeValidator(parse_bytes), Field(ge=2**10, le=4 * 2**20)] = 2**20
    waiting_per_namespace: int = Field(default=10000, ge=1)
    requests_per_minute: int = Field(default=0, ge=0, le=1_000_000)
    followers_per_caller: int = Field(default=256, ge=1, le=100_000)


class Webhooks(_Frozen):
    allow_networks: tuple[Network, ...] = ()
    max_age: Annotated[int, BeforeValidator(parse_duration), Field(ge=86400, le=MAX_DURATION)] = 7 * 86400


MAIL_ADDRESS = re.compile(
    r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*"
    r"@(?=.{1,253}$)[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?(\.[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?)*",
    re.ASCII,
)


def is_mail_address(text: str) -> bool:
    """`local@domain` in ASCII, without quotes, comments or a name in front (RFC 5321's usual form and lengths)."""
    return len(text) <= 254 and text.find("@") <= 64 and MAIL_ADDRESS.fullmatch(text) is not None


def _check_sender(text: str) -> str:
    if not is_mail_address(text):
        raise ValueError(f"`{text}` is not an address; expected one such as jobd@example.com")
    return text


class Mail(_Frozen):
    """With `smtp` None, no mail is sent. `security` none is for a server on this machine or in a trusted network."""

    smtp: Annotated[Listen | None, BeforeValidator(parse_listen)] = None
    security: Literal["starttls", "tls", "none"] = "starttls"
    username: str | None = None
    password_file: Path | None = None
    sender: Annotated[str, AfterValidator(_check_sender)] | None = None


class Audit(_Frozen):
    max_age: Seconds = 400 * 86400


class Registry(_Frozen):
    """Credentials for a registry, and the namespaces that may pull from it; None is all."""

    username: str
    password: SecretStr
    namespaces: tuple[str, ...] | None = None


class RegistryKeys(_Frozen):
    """The keys of `[registry:HOST]`; the password is in a file of its own."""

    username: str
    password_file: Path
    namespaces: tuple[str, ...] | None = None


class MountSettings(_Frozen):
    """The keys of `[mount:NAME]`, a folder on the regions' hosts that jobs may mount by name; for `namespaces` and
    `regions`, None is all.
    """

    source: str = Field(pattern=r"^/[^\x00]*$")
    read_only: bool = True
    namespaces: tuple[str, ...] | None = None
    regions: tuple[str, ...] | None = None

    def is_for(self, namespace: str, region: str) -> bool:
        """Whether a run of this namespace in this region may have the mount."""
        return (self.namespaces is None or namespace in self.namespaces) and (
            self.regions is None or region in self.regions
        )


class RegionKeys(_Frozen):
    """The keys of every `[region:NAME]`; an executor's options add others."""

    executor: str
    max_running: int = Field(default=32, ge=1)
    images: tuple[str, ...] = ("*",)


class RegionSettings(RegionKeys):
    name: str
    options: BaseModel

    def allows(self, image: str) -> bool:
        """Whether `image` (`repo:tag` or `repo@digest`) matches one of the region's globs."""
        return any(fnmatchcase(image, glob) for glob in self.images)


class Settings(_Frozen):
    path: Path
    jobd: Jobd = Jobd()
    database: Database
    auth: Auth = Auth()
    api: Api = Api()
    scheduler: Scheduler = Scheduler()
    execs: Execs = Execs()
    sizes: dict[str, Size]
    limits: Limits = Limits()
    webhooks: Webhooks = Webhooks()
    mail: Mail = Mail()
    audit: Audit = Audit()
    log: Log = Log()
    registries: dict[str, Registry] = {}
    mounts: dict[str, MountSettings] = {}
    regions: dict[str, RegionSettings]

    @property
    def default_size(self) -> str:
        """The smallest: least memory, then fewest CPUs."""
        return min(self.sizes, key=lambda name: (self.sizes[name].memory, self.sizes[name].cpus))
