"""Loads jobd.ini into Settings. Reports all faults at once, each with its line or variable and what was expected."""

import os
import re
import types
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, BeforeValidator, SecretStr, ValidationError
from pydantic.fields import FieldInfo

from jobd.config.ini import Entry, Faults, Place, Section, nearest, override, read
from jobd.config.settings import (
    Api,
    Audit,
    Auth,
    Database,
    Execs,
    Jobd,
    Limits,
    Log,
    Mail,
    MountSettings,
    RegionKeys,
    RegionSettings,
    Registry,
    RegistryKeys,
    Scheduler,
    Settings,
    Size,
    Webhooks,
    absolute,
    parse_size,
)
from jobd.executor import Executor

M = TypeVar("M", bound=BaseModel)

NAME = re.compile(r"[\w.-]{1,64}")
"""A region's, size's or mount's name: letters of any script, no blanks, since it is part of URLs and tables."""

HOST = re.compile(r"([A-Za-z0-9._-]+|\[[0-9A-Fa-f:]+\])(:\d{1,5})?")

PASSWORD_LENGTH = 4096
"""Characters. A longer file is not a password file."""

FIXED: dict[str, type[BaseModel]] = {
    "jobd": Jobd,
    "database": Database,
    "auth": Auth,
    "api": Api,
    "scheduler": Scheduler,
    "execs": Execs,
    "limits": Limits,
    "webhooks": Webhooks,
    "mail": Mail,
    "audit": Audit,
    "log": Log,
}
BUILT_IN_SIZES = {"XXS": "0.15 cpu, 64 MB", "XS": "0.25 cpu, 128 MB"}
BUILT_IN_REGIONS = {"BEIJING1": "docker", "DRYRUN": "dry-run"}


def load(
    path: Path,
    kinds: Mapping[str, type[Executor]],
    environ: Mapping[str, str] = os.environ,
    *,
    listen: str | None = None,
) -> Settings:
    """Read the INI file. `kinds` are the installed executors by name; `listen`, from `--listen`, overrides the file.

    Raises ConfigError with all faults at once, one per line.
    """
    faults = Faults()
    sections = read(path, faults)
    reading = _Reading(path, sections, kinds, faults)
    reading.add_built_in()
    override(sections, reading.keys(), environ, faults)
    if listen is not None:
        sections["jobd"].entries["listen"] = Entry(listen, Place(float("inf"), "--listen"))
    reading.refuse_unknown_sections()
    fixed: dict[str, Any] = {name: reading.model(sections[name], model) for name, model in FIXED.items()}
    settings = fixed | {
        "path": path.absolute(),
        "sizes": reading.sizes(),
        "registries": reading.registries(),
        "mounts": reading.mounts(),
        "regions": reading.regions(),
    }
    reading.check_rules(fixed["jobd"], fixed["auth"])
    reading.check_mail(fixed["mail"])
    if faults:
        raise faults.error()
    return Settings.model_validate(settings)


class _Reading:
    """Turns the sections of one file into models, and what is wrong with them into faults."""

    def __init__(
        self, path: Path, sections: dict[str, Section], kinds: Mapping[str, type[Executor]], faults: Faults
    ) -> None:
        self._nowhere = Place(0, str(path))
        self._base = path.absolute().parent
        self._sections = sections
        self._kinds = kinds
        self._faults = faults

    def add_built_in(self) -> None:
        """Add what the file leaves out: empty sections, for their defaults, and the built-in sizes and regions."""
        built_in: dict[str, dict[str, str]] = {name: {} for name in FIXED}
        built_in["sizes"] = BUILT_IN_SIZES
        if not self._named("region"):
            built_in |= {f"region:{name}": {"executor": kind} for name, kind in BUILT_IN_REGIONS.items()}
        for name, values in built_in.items():
            entries = {key: Entry(value, self._nowhere) for key, value in values.items()}
            self._sections.setdefault(name, Section(name, self._nowhere, entries))

    def keys(self) -> dict[str, list[str]]:
        """The keys that each section may have; those of regions include the options of all executors."""
        keys = {name: list(_fields(model)) for name, model in FIXED.items()}
        keys["sizes"] = list(self._sections["sizes"].entries)
        options = {key for kind in self._kinds.values() for key in _fields(kind.options)}
        region = [*_fields(RegionKeys), *sorted(options)]
        keys |= {section.name: region for section in self._named("region").values()}
        keys |= {section.name: list(_fields(RegistryKeys)) for section in self._named("registry").values()}
        keys |= {section.name: list(_fields(MountSettings)) for section in self._named("mount").values()}
        return keys

    def refuse_unknown_sections(self) -> None:
        known = {name: f"[{name}]" for name in (*FIXED, "sizes")}
        named = {"region": "[region:NAME]", "registry": "[registry:HOST]", "mount": "[mount:NAME]"}
        for section in self._sections.values():
            head, colon, _ = section.name.partition(":")
            if section.name in known or (colon and head in named):
                continue
            name = nearest(head, known | named)
            self._faults.add(section.place, f"[{section.name}] is not a section", (known | named).get(name, name))

    def sizes(self) -> dict[str, Size]:
        section = self._sections["sizes"]
        if not section.entries:
            self._faults.add(section.place, "[sizes] has no size", "a line like XS = 0.25 cpu, 128 MB")
        sizes = {}
        for name, (value, place) in section.entries.items():
            try:
                sizes[name] = parse_size(value)
                if not NAME.fullmatch(name):
                    raise ValueError("is not a valid name; expected up to 64 letters, digits and . _ -")
            except ValueError as error:
                self._faults.add(place, f"[sizes] {name}: {error}")
        return sizes

    def registries(self) -> dict[str, Registry]:
        registries = {}
        for host, section in self._named("registry").items():
            if not HOST.fullmatch(host):
                self._faults.add(section.place, f"[{section.name}] `{host}` is not a host", "HOST or HOST:PORT alone")
            keys = self.model(section, RegistryKeys)
            if keys is None:
                continue
            try:
                password = read_password(keys.password_file)
            except (OSError, ValueError) as error:
                reason = error.strerror if isinstance(error, OSError) else error
                text = f"[{section.name}] password_file: {keys.password_file}: {reason}"
                self._faults.add(section.entries["password_file"].place, text, "a file with nothing but the password")
            else:
                registries[host] = Registry(username=keys.username, password=password, namespaces=keys.namespaces)
        return registries

    def mounts(self) -> dict[str, MountSettings]:
        mounts = {}
        for name, section in self._named("mount").items():
            if not NAME.fullmatch(name):
                expected = "[mount:NAME] with up to 64 letters, digits and . _ -"
                self._faults.add(section.place, f"[{section.name}] is not a valid name for a mount", expected)
            mount = self.model(section, MountSettings)
            if mount is None:
                continue
            mounts[name] = mount
            for region in mount.regions or ():
                if region not in self._named("region"):
                    text = f"[{section.name}] regions: there is no [region:{region}]"
                    place = section.entries["regions"].place
                    self._faults.add(place, text, nearest(region, self._named("region")))
        return mounts

    def regions(self) -> dict[str, RegionSettings]:
        regions = {}
        for name, section in self._named("region").items():
            if not NAME.fullmatch(name):
                expected = "[region:NAME] with up to 64 letters, digits and . _ -"
                self._faults.add(section.place, f"[{section.name}] is not a valid name for a region", expected)
            kind, place = section.entries.get("executor", Entry("", section.place))
            if kind not in self._kinds:
                text = f"`{kind}` is not an installed executor" if kind else "is missing"
                self._faults.add(place, f"[{section.name}] executor: {text}", nearest(kind, self._kinds))
                continue
            own = _fields(RegionKeys)
            options = self._kinds[kind].options
            entries = section.entries
            keys = self.model(section, RegionKeys, {key: entries[key] for key in entries if key in own})
            rest = {key: entries[key] for key in entries if key not in own}
            chosen = self.model(section, options, rest, also=own)
            if keys and chosen:
                regions[name] = RegionSettings(name=name, options=chosen, **keys.model_dump())
        return regions

    def check_rules(self, jobd: Jobd | None, auth: Auth | None) -> None:
        """Check the rules that concern several sections."""
        regions = self._named("region")
        if jobd and jobd.default_region not in regions:
            place = self._sections["jobd"].entries.get("default_region", Entry("", self._nowhere)).place
            text = f"[jobd] default_region: there is no [region:{jobd.default_region}]"
            self._faults.add(place, text, nearest(jobd.default_region, regions))
        if jobd and auth and auth.mode == "none" and not jobd.listen.loopback:
            place = self._sections["auth"].entries["mode"].place
            text = f"[auth] mode: without tokens, anyone who reaches {jobd.listen} could use jobd"
            self._faults.add(place, text, "mode = token, or [jobd] listen on 127.0.0.1")

    def check_mail(self, mail: Mail | None) -> None:
        """Check the rules between the keys of `[mail]`."""
        if mail is None or mail.smtp is None:
            return
        section = self._sections["mail"]
        place = section.entries["smtp"].place
        if mail.sender is None:
            self._faults.add(place, "[mail] sender: is missing", "a line sender = jobd@example.com")
        if (mail.username is None) != (mail.password_file is None):
            self._faults.add(place, "[mail] username and password_file go together", "both or none")
        if mail.username is not None and mail.security == "none":
            text = "[mail] security: without TLS, the password would cross the network in the clear"
            self._faults.add(place, text, "starttls or tls")
        if mail.password_file is not None:
            try:
                read_password(mail.password_file)
            except (OSError, ValueError) as error:
                reason = error.strerror if isinstance(error, OSError) else error
                text = f"[mail] password_file: {mail.password_file}: {reason}"
                self._faults.add(section.entries["password_file"].place, text, "a file with nothing but the password")

    def model(
        self, section: Section, model: type[M], entries: Mapping[str, Entry] | None = None, also: Mapping[str, Any] = {}
    ) -> M | None:
        """The section as this model, or None after adding its faults. A misspelt key is compared with the model's keys
        and with those in `also`.
        """
        entries = section.entries if entries is None else entries
        fields = _fields(model)
        values: dict[str, Any] = {}
        for key, (value, place) in entries.items():
            if key in fields:
                values |= _value(fields[key], key, value)
            elif model.model_config.get("extra") == "allow":
                values[key] = value
            else:
                self._faults.add(place, f"[{section.name}] {key}: no such key", nearest(key, [*also, *fields]))
        for key, field in fields.items():
            path = values.get(key, field.default)
            if Path in _types(field.annotation) and isinstance(path, str | Path):
                values[key] = absolute(self._base, path)
        try:
            return model.model_validate(values, context={"base": self._base})
        except ValidationError as error:
            for fault in error.errors(include_url=False, include_input=False):
                self._model_fault(section, fields, fault)
            return None

    def _model_fault(self, section: Section, fields: Mapping[str, FieldInfo], fault: Any) -> None:
        key = str(fault["loc"][0]) if fault["loc"] else ""
        place = section.entries[key].place if key in section.entries else section.place
        if fault["type"] == "missing":
            text, expected = "is missing", f"a line {key} = …"
        elif fault["type"] == "value_error":
            text, expected = str(fault["ctx"]["error"]), ""
        else:
            default = fields[key].default if key in fields else None
            text = fault["msg"].replace("Input should", "should")
            expected = f"a value such as {default}" if isinstance(default, str | int | float) else ""
        self._faults.add(place, f"[{section.name}] {key}: {text}" if key else f"[{section.name}] {text}", expected)

    def _named(self, head: str) -> dict[str, Section]:
        """The sections `[head:NAME]` by NAME."""
        prefix = f"{head}:"
        return {name.removeprefix(prefix): self._sections[name] for name in self._sections if name.startswith(prefix)}


def _fields(model: type[BaseModel]) -> dict[str, FieldInfo]:
    """A model's fields by their INI keys."""
    return {field.alias or name: field for name, field in model.model_fields.items()}


def _types(annotation: Any) -> set[Any]:
    """The types that a value of this annotation may have."""
    origin = get_origin(annotation)
    if origin is Annotated:
        return _types(get_args(annotation)[0])
    if origin in (Union, types.UnionType):
        return set().union(*(_types(part) for part in get_args(annotation)))
    return {origin or annotation}


def _value(field: FieldInfo, key: str, text: str) -> dict[str, Any]:
    """The value to validate: a list of words for a field that is a list; none for an empty text, which means the
    default.
    """
    parses_itself = any(isinstance(step, BeforeValidator) for step in field.metadata)
    if _types(field.annotation) & {list, tuple, set, frozenset} and not parses_itself:
        return {key: [word for word in re.split(r"[,\s]+", text) if word]}
    return {key: text} if text else {}


def read_password(path: Path) -> SecretStr:
    """The password in a file that contains nothing else. Raises OSError, ValueError."""
    if not path.exists():
        raise ValueError("no such file")
    if not path.is_file():
        raise ValueError("not a file")
    with path.open(encoding="utf-8") as file:
        password = file.read(PASSWORD_LENGTH + 1).rstrip("\r\n")
    if not password or len(password) > PASSWORD_LENGTH:
        raise ValueError("empty" if not password else "too long")
    return SecretStr(password)
