"""From an exec's record to what an executor is asked to run."""

import shlex
from collections.abc import Mapping
from typing import cast

from jobd.config import Settings
from jobd.errors import ImagePullFailed, StartFailed
from jobd.executor import Mount, PullPolicy, RegistryAuth, RunSpec
from jobd.store.db.tables import Exec

DEFAULT_REGISTRY = "docker.io"


def build(row: Exec, settings: Settings, installation: str, daemon: str, secret: Mapping[str, str]) -> RunSpec:
    """The spec of an exec's run; `secret` are the values of its `secret_vars`.

    Raises StartFailed if the configuration no longer allows the run, ImagePullFailed for a registry that is not for its
    namespace.
    """
    size = settings.sizes.get(row.resource_size)
    if size is None:
        raise StartFailed(f"the size {row.resource_size} is no longer configured")
    image = _image(row)
    if not settings.regions[row.region_name].allows(image):
        raise StartFailed(f"the region {row.region_name} does not allow the image {image}")
    return RunSpec(
        installation=installation,
        daemon=daemon,
        exec_id=row.id,
        job_id=row.job_id,
        namespace=row.namespace,
        image=image,
        argv=None if row.command is None else tuple(shlex.split(row.command)),
        environment={**row.runtime_vars, **secret, **_own(row)},
        cpus=size.cpus,
        memory=size.memory,
        max_log=settings.execs.max_log,
        pull_policy=cast(PullPolicy, row.pull_policy),
        registry_auth=_registry_auth(row, settings),
        mounts=tuple(_mount(row, mount, settings) for mount in row.mounts),
    )


def _image(row: Exec) -> str:
    separator = "@" if row.docker_image_tag.startswith("sha256:") else ":"
    return f"{row.docker_image_repo}{separator}{row.docker_image_tag}"


def _mount(row: Exec, reference: Mapping[str, str], settings: Settings) -> Mount:
    mount = settings.mounts.get(reference["name"])
    if mount is None or not mount.is_for(row.namespace, row.region_name):
        raise StartFailed(f"the mount {reference['name']} is not there for {row.namespace} in {row.region_name}")
    return Mount(mount.source, reference["path"], mount.read_only)


def _own(row: Exec) -> dict[str, str]:
    own = {"JOBD_EXEC_ID": row.id, "JOBD_JOB_ID": str(row.job_id), "JOBD_ATTEMPT": str(row.attempt)}
    if row.scheduled_for is not None:
        own["JOBD_SCHEDULED_FOR"] = row.scheduled_for.isoformat(timespec="microseconds")
    return own


def _registry_auth(row: Exec, settings: Settings) -> RegistryAuth | None:
    """The operator's credentials for the image's registry. Credentials that are bound to namespaces shut out all
    others.
    """
    first, slash, _ = row.docker_image_repo.partition("/")
    is_host = bool(slash) and ("." in first or ":" in first or first == "localhost")
    host = first if is_host else DEFAULT_REGISTRY
    registry = settings.registries.get(host)
    if registry is None:
        return None
    if registry.namespaces is not None and row.namespace not in registry.namespaces:
        raise ImagePullFailed(f"images of {host} are not for the namespace {row.namespace}")
    return RegistryAuth(registry.username, registry.password.get_secret_value())
