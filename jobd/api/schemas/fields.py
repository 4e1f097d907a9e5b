"""The types of fields: each rule of docs/api.md, with the message that says what is expected."""

import posixpath
import re
import shlex
import unicodedata
from collections.abc import Mapping
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr
from typing_extensions import TypeAliasType

from jobd.config.settings import is_mail_address
from jobd.store.namespaces import USERNAME
from jobd.store.outbox import EVENTS
from jobd.store.queue.transitions import MAY_BE_RETRIED
from jobd.store.webhooks import secret_bytes
from jobd.web.validation import few, shown

COMMAND_LENGTH = 32 * 2**10
"""Bytes."""
VARIABLE_LENGTH = 128 * 2**10 - 1
"""Bytes of `NAME=value` that Linux accepts, without the NUL at its end (MAX_ARG_STRLEN)."""
MAX_VARIABLES = 128 * 2**10
"""Bytes of all `NAME=value` of a run together."""
MAX_LABELS_LENGTH = 32 * 2**10
"""Bytes of all labels together, names and values: enough for 64 labels of 255 + 255 ASCII characters."""
IMAGE_LENGTH = 255
"""Characters, as the OCI distribution specification recommends for names."""
MAX_SECRETS = 64
SECRETS_LENGTH = 32 * 2**10
"""Bytes of all secret values of a job, since every log of the job is searched for them."""
MAX_LABELS = 64
MAX_MOUNTS = 32
MAX_RECIPIENTS = 20
MAX_EVENTS = 20
"""More than there are, since an event may be repeated."""
URL_LENGTH = 2048
SECRET_LENGTH = 255
MAX_TIMEOUT = 3650 * 86400
"""Seconds."""
KERNEL_FOLDERS = ("proc", "sys", "dev")
"""Folders in a container's root whose content comes from the kernel and the runtime, and is trusted by programs."""

_COMPONENT = r"[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?"
_HOST = rf"{_COMPONENT}(?:\.{_COMPONENT})*(?::(?P<port>[0-9]{{1,5}}))?"
_PATH = r"[a-z0-9]+(?:(?:\.|__?|-+)[a-z0-9]+)*"
# As in the docker command, the first part is a host if it looks like one, else the path's first part.
_REPOSITORY = re.compile(rf"(?:(?P<host>{_HOST})/)?{_PATH}(?:/{_PATH})*", re.ASCII)
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}", re.ASCII)
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}", re.ASCII)
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)


_MOUNT = {"name": {"type": "string"}, "path": {"type": "string", "pattern": "^/.", "maxLength": 4095}}


def _shown_as(**schema: Any) -> Any:
    """What the OpenAPI schema shows of a type's rules; its validator checks all of them."""
    return Field(json_schema_extra=schema)


def _at_most(count: int, what: str) -> BeforeValidator:
    """Checks the number of entries before pydantic checks each of them, and reports each that is wrong."""

    def look(values: Any) -> Any:
        if isinstance(values, (dict, list)) and len(values) > count:
            raise ValueError(f"must be at most {count} {what}")
        return values

    return BeforeValidator(look)


def _name(text: str) -> str:
    if len(text) > 255:
        raise ValueError(f"must be at most 255 characters; this has {len(text)}")
    if not text.strip():
        raise ValueError("must not be blank")
    if any(unicodedata.category(character) == "Cc" for character in text):
        raise ValueError("must not contain control characters, such as a newline")
    return text


def _namespace(text: str) -> str:
    if not is_namespace(text):
        raise ValueError("must be 1 to 63 of A-Z a-z 0-9 . _ -, the first and the last a letter or digit")
    return text


def _command(text: str) -> str:
    if len(text.encode()) > COMMAND_LENGTH:
        raise ValueError(f"must be at most {COMMAND_LENGTH} bytes")
    try:
        words = shlex.split(text)
    except ValueError as error:
        quote = "a quote is not closed" if "quotation" in str(error) else "nothing follows the last backslash"
        raise ValueError(f"cannot be split as a POSIX shell does: {quote}") from None
    if not words or not words[0]:
        raise ValueError("has no program; use null for the image's own command")
    return text


def _repository(text: str) -> str:
    # Checked first: matching takes more than linear time.
    if len(text) > IMAGE_LENGTH:
        raise ValueError(f"must be at most {IMAGE_LENGTH} characters")
    match = _REPOSITORY.fullmatch(text)
    if match and not _has_host(match) and text != text.lower():
        raise ValueError("must be in lower case, except for the registry's host, which has a dot or a port")
    if match:
        if len(_qualified(text, match)) > IMAGE_LENGTH:
            raise ValueError(f"must be at most {IMAGE_LENGTH} characters, with docker.io/library/ where Docker adds it")
        if match["port"] and not 1 <= int(match["port"]) <= 65535:
            raise ValueError(f"there is no port {match['port']}")
        if re.fullmatch(r"[0-9a-f]{64}", text):
            raise ValueError("must not be 64 hexadecimal digits, which would be an image's id")
        return text
    last = text.rpartition("/")[2]
    if text.startswith("["):
        raise ValueError("must have a name or an IPv4 address as its host: Docker before 26 does not accept others")
    if "://" in text:
        raise ValueError("must begin with the registry's host, without https://")
    if "@" in last or ":" in last:
        raise ValueError("must be without tag and digest: those belong in docker_image_tag")
    if text != text.lower() and _REPOSITORY.fullmatch(text.lower()):
        raise ValueError("must be in lower case, except for the registry's host")
    raise ValueError(
        "is not an image repository; expected [HOST[:PORT]/]PATH in lower case, as in index.example.com/team/app"
    )


def _has_host(match: re.Match[str]) -> bool:
    """Whether the first part is a host and not a part of the path."""
    host = match["host"] or ""
    return host == "localhost" or "." in host or ":" in host


def _qualified(text: str, match: re.Match[str]) -> str:
    """The name as Docker completes it before it checks the length."""
    if _has_host(match):
        return text
    return f"docker.io/{text}" if "/" in text else f"docker.io/library/{text}"


def _tag(text: str) -> str:
    if not _TAG.fullmatch(text) and not _DIGEST.fullmatch(text):
        raise ValueError(
            "must be a tag (1 to 128 of A-Z a-z 0-9 _ . -, the first not . or -) or sha256: and 64 hexadecimal digits"
        )
    return text


def _texts(values: Any) -> Any:
    """Checks the values' types before pydantic, which would report each wrong one apart."""
    if isinstance(values, dict):
        faults = [f"{shown(name)}: must be a string" for name, value in values.items() if not isinstance(value, str)]
        if faults:
            raise ValueError(few(faults))
    return values


def variables_length(values: Mapping[str, str]) -> int:
    """Bytes of all `NAME=value` together."""
    return sum(len(name.encode()) + 1 + len(value.encode()) for name, value in values.items())


def _variables(values: dict[str, str]) -> dict[str, str]:
    faults = []
    for name, value in values.items():
        if not _VARIABLE.fullmatch(name):
            faults.append(
                f"{shown(name)!r} cannot be a variable's name; expected letters, digits and _, no digit first"
            )
        elif name.startswith("JOBD_"):
            faults.append(f"{shown(name)}: names that begin with JOBD_ are reserved for jobd")
        elif len(f"{name}={value}".encode()) > VARIABLE_LENGTH:
            faults.append(f"{shown(name)}: name and value must be at most {VARIABLE_LENGTH - 1} bytes together")
    if faults:
        raise ValueError(few(faults))
    if variables_length(values) > MAX_VARIABLES:
        raise ValueError(f"must be at most {MAX_VARIABLES} bytes together, names and values")
    return values


def _secrets(values: dict[str, SecretStr]) -> dict[str, SecretStr]:
    """As `_variables`, but does not repeat an invalid name: it may be a secret value in the wrong place."""
    for place, name in enumerate(values, 1):
        if not _VARIABLE.fullmatch(name):
            raise ValueError(f"the name of entry {place} is not valid; expected letters, digits and _, no digit first")
    texts = {name: value.get_secret_value() for name, value in values.items()}
    _variables(texts)
    if sum(len(text.encode()) for text in texts.values()) > SECRETS_LENGTH:
        raise ValueError(f"the values must be at most {SECRETS_LENGTH} bytes together")
    return values


def _labels(values: dict[str, str]) -> dict[str, str]:
    for name, value in values.items():
        if not 1 <= len(name) <= 255 or "=" in name:
            raise ValueError(f"{shown(name)!r} is not a valid name; expected 1 to 255 characters without =")
        if len(value) > 255:
            raise ValueError(f"{shown(name)}: must be at most 255 characters")
    if variables_length(values) > MAX_LABELS_LENGTH:
        raise ValueError(f"must be at most {MAX_LABELS_LENGTH} bytes together, names and values")
    return values


def _retry_on(value: dict[str, list[str]]) -> dict[str, list[str]]:
    expected = f'expected {{"reasons": [\u2026]}}, of {", ".join(MAY_BE_RETRIED)}'
    if set(value) != {"reasons"} or not value["reasons"]:
        raise ValueError(f"must have at least one reason and nothing else; {expected}")
    for reason in value["reasons"]:
        if reason not in MAY_BE_RETRIED:
            raise ValueError(f"{shown(reason)!r} is not a reason that can be retried; {expected}")
    return {"reasons": [reason for reason in MAY_BE_RETRIED if reason in value["reasons"]]}


def _mounts(values: list[dict[str, str]]) -> list[dict[str, str]]:
    for value in values:
        if set(value) != {"name", "path"}:
            raise ValueError('each must be {"name": …, "path": …} and nothing else')
        path = value["path"]
        # Linux reads two slashes at the beginning as one; normpath does not.
        plain = posixpath.normpath("/" + path.lstrip("/"))
        if plain == "/" or plain.split("/")[1] in KERNEL_FOLDERS:
            raise ValueError(
                f"{shown(path)!r} is not allowed: a mount must not be at /, nor at or inside /proc, /sys or /dev;"
                " expected a folder of its own, as in /data"
            )
        if not path.startswith("/") or plain != path or not path.isprintable() or len(path) > 4095:
            raise ValueError(f"{shown(path)!r} is not allowed; expected a plain absolute path, as in /data")
    paths = [value["path"] for value in values]
    if len(set(paths)) < len(paths):
        raise ValueError("two mounts must not have the same path")
    return values


def _recipients(values: list[str]) -> list[str]:
    for value in values:
        if not is_mail_address(value):
            raise ValueError(f"{shown(value)!r} is not a mail address; expected one such as name@example.com, in ASCII")
    if len({value.lower() for value in values}) < len(values):
        raise ValueError("must not contain the same address twice")
    return values


def _url(text: str) -> str:
    """Checks the rules of RFC 3986 that matter here, and refuses its rarer forms."""
    if len(text) > URL_LENGTH:
        raise ValueError(f"must be at most {URL_LENGTH} characters")
    if not re.fullmatch(r"https?://[\x21-\x7e]+", text) or set(text) & set('\\"<>^`{|}'):
        raise ValueError("must be an http:// or https:// URL in ASCII, without blanks; other hosts as xn--…")
    try:
        parts = urlsplit(text)
        has_host = bool(parts.hostname) and parts.port != 0
    except ValueError:
        has_host = False
    if not has_host or not re.fullmatch(r"[A-Za-z0-9._-]{1,253}|[0-9a-f:.]{2,45}", parts.hostname or ""):
        raise ValueError("has no valid host or port; expected a URL such as https://example.com/hook")
    if "@" in parts.netloc:
        raise ValueError("must not contain a user or a password: deliveries are signed with the secret instead")
    if "#" in text:
        raise ValueError("must not have a fragment (#…), which is not sent to servers")
    return text


def _events(values: list[str]) -> list[str]:
    if not values:
        raise ValueError(f"must contain at least one of {', '.join(EVENTS.values())}")
    for value in values:
        if value not in EVENTS.values():
            raise ValueError(f"there is no event {shown(value)!r}; expected {', '.join(EVENTS.values())}")
    return [event for event in EVENTS.values() if event in values]


def _secret(text: str) -> str:
    if not 1 <= len(text) <= SECRET_LENGTH:
        raise ValueError(f"must be 1 to {SECRET_LENGTH} characters")
    if not secret_bytes(text):
        raise ValueError("is empty after whsec_")
    return text


def _subject_type(text: str) -> str:
    if text in ("build_repo", "image_repo"):
        raise ValueError("there are no image repositories here; expected job or namespace")
    if text not in ("job", "namespace"):
        raise ValueError("must be job or namespace")
    return text


# A TypeAliasType has a schema of its own in the OpenAPI document, so that generated clients get one type of that name.
Name = Annotated[str, AfterValidator(_name), _shown_as(minLength=1, maxLength=255)]
Namespace = Annotated[str, AfterValidator(_namespace), _shown_as(pattern=f"^{USERNAME.pattern}$")]
Command = Annotated[str, AfterValidator(_command), _shown_as(minLength=1, maxLength=COMMAND_LENGTH)]
Repository = Annotated[str, AfterValidator(_repository), _shown_as(minLength=1, maxLength=IMAGE_LENGTH)]
Tag = Annotated[str, AfterValidator(_tag), _shown_as(pattern=f"^(?:{_TAG.pattern}|{_DIGEST.pattern})$")]
Variables = TypeAliasType(
    "Variables",
    Annotated[
        dict[str, str],
        BeforeValidator(_texts),
        AfterValidator(_variables),
        _shown_as(propertyNames={"pattern": f"^{_VARIABLE.pattern}$"}),
    ],
)
SecretVariables = TypeAliasType(
    "SecretVariables",
    Annotated[
        dict[str, SecretStr],
        _at_most(MAX_SECRETS, "secrets"),
        AfterValidator(_secrets),
        _shown_as(maxProperties=MAX_SECRETS, propertyNames={"pattern": f"^{_VARIABLE.pattern}$"}),
    ],
)
Labels = TypeAliasType(
    "Labels",
    Annotated[
        dict[str, Annotated[str, _shown_as(maxLength=255)]],
        _at_most(MAX_LABELS, "labels"),
        AfterValidator(_labels),
        _shown_as(maxProperties=MAX_LABELS, propertyNames={"pattern": "^[^=]{1,255}$"}),
    ],
)
JobMount = TypeAliasType(
    "JobMount",
    Annotated[
        dict[str, str],
        _at_most(2, "entries, name and path"),
        _shown_as(required=["name", "path"], properties=_MOUNT, additionalProperties=False),
    ],
)
Mounts = Annotated[
    list[JobMount],
    _at_most(MAX_MOUNTS, "mounts"),
    AfterValidator(_mounts),
    _shown_as(maxItems=MAX_MOUNTS),
]
Timeout = Annotated[int, Field(ge=1, le=MAX_TIMEOUT)]
Retries = Annotated[int, Field(ge=0, le=100)]
RetryReason = TypeAliasType("RetryReason", Annotated[str, _shown_as(enum=list(MAY_BE_RETRIED))])
RetryOn = TypeAliasType(
    "RetryOn",
    Annotated[
        dict[str, list[RetryReason]],
        AfterValidator(_retry_on),
        _shown_as(
            required=["reasons"],
            propertyNames={"const": "reasons"},
            minProperties=1,
        ),
    ],
)
RetryDelay = Annotated[int, Field(ge=0, le=3600)]
ExecsKept = Annotated[int, Field(ge=1, le=1_000_000)]
Recipients = Annotated[
    list[Annotated[str, _shown_as(format="email", maxLength=254)]],
    _at_most(MAX_RECIPIENTS, "addresses"),
    AfterValidator(_recipients),
    _shown_as(maxItems=MAX_RECIPIENTS),
]
Url = Annotated[str, AfterValidator(_url), _shown_as(pattern="^https?://", maxLength=URL_LENGTH)]
HookEvent = TypeAliasType("HookEvent", Annotated[str, _shown_as(enum=list(EVENTS.values()))])
Events = Annotated[list[HookEvent], _at_most(MAX_EVENTS, "events"), AfterValidator(_events), _shown_as(minItems=1)]
Secret = Annotated[str, AfterValidator(_secret), _shown_as(minLength=1, maxLength=SECRET_LENGTH)]
HookSubjectType = TypeAliasType(
    "HookSubjectType", Annotated[str, AfterValidator(_subject_type), _shown_as(enum=["job", "namespace"])]
)
PullPolicy = TypeAliasType("PullPolicy", Literal["always", "if_not_present", "never"])
MissedRunPolicy = TypeAliasType("MissedRunPolicy", Literal["skip", "run_once", "run_all"])
ConcurrencyPolicy = TypeAliasType("ConcurrencyPolicy", Literal["allow", "forbid", "replace"])
Password = Annotated[str, _shown_as(minLength=8, maxLength=1024)]
TokenAccess = TypeAliasType("TokenAccess", Literal["read", "write"])
Role = TypeAliasType("Role", Literal["reader", "writer", "admin"])
ExecStatus = TypeAliasType("ExecStatus", Literal["W", "R", "S", "F", "C", "N"])


def is_namespace(text: str) -> bool:
    """Whether this is a valid name of a user, an organization or a namespace."""
    return USERNAME.fullmatch(text) is not None


def image(repository: str, tag: str) -> str:
    """The image as one text: `repo:tag` or `repo@sha256:…`."""
    return f"{repository}{'@' if tag.startswith('sha256:') else ':'}{tag}"
