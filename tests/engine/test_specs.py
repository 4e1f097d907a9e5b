"""What an executor is asked to run, and what the configuration forbids."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from jobd.config import MountSettings, RegionSettings, Registry, Settings
from jobd.engine import specs
from jobd.errors import ImagePullFailed, StartFailed
from jobd.executor import Mount, Options, RegistryAuth, RunSpec
from jobd.store.db.columns import EPOCH
from jobd.store.db.tables import Exec
from tests.engine.conftest import make_settings
from tests.store.rows import JOB

REGION = RegionSettings(name="BEIJING1", executor="memory", options=Options())


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return make_settings(tmp_path, {"BEIJING1": REGION})


def build(settings: Settings, **values: Any) -> RunSpec:
    columns = {key: value for key, value in JOB.items() if hasattr(Exec, key)}
    row = Exec(**{**columns, "id": "e", "job_id": 1, "namespace": "team", **values})
    return specs.build(row, settings, "installation", "daemon", {})


def test_a_command_is_split_as_a_shell_splits_it_and_run_through_none(settings: Settings) -> None:
    assert build(settings, command="sh -c 'echo \"$A\" && b'").argv == ("sh", "-c", 'echo "$A" && b')
    assert build(settings, command=None).argv is None


def test_a_size_is_cpus_and_bytes(settings: Settings) -> None:
    spec = build(settings, resource_size="XS")
    assert (spec.cpus, spec.memory) == (0.25, 128 * 2**20)


def test_a_size_that_is_gone_fails_the_run(settings: Settings) -> None:
    with pytest.raises(StartFailed, match="HUGE"):
        build(settings, resource_size="HUGE")


def test_a_digest_is_joined_with_an_at(settings: Settings) -> None:
    digest = "sha256:" + "0" * 64
    assert build(settings, docker_image_repo="repo", docker_image_tag=digest).image == f"repo@{digest}"
    assert build(settings, docker_image_repo="repo", docker_image_tag="1").image == "repo:1"


def test_a_run_knows_what_it_is(settings: Settings) -> None:
    environment = build(settings, attempt=2, scheduled_for=EPOCH).environment
    assert environment == {
        "DB_HOST": "localhost",
        "JOBD_EXEC_ID": "e",
        "JOBD_JOB_ID": "1",
        "JOBD_ATTEMPT": "2",
        "JOBD_SCHEDULED_FOR": "1970-01-01T00:00:00.000000+00:00",
    }


def test_an_image_outside_the_regions_list_is_refused(settings: Settings) -> None:
    narrow = settings.model_copy(update={"regions": {"BEIJING1": REGION.model_copy(update={"images": ("good/*",)})}})
    with pytest.raises(StartFailed, match="does not allow"):
        build(narrow, docker_image_repo="bad/app")
    assert build(narrow, docker_image_repo="good/app").image == "good/app:latest"


def mounting(settings: Settings, **values: Any) -> Settings:
    mount = MountSettings(**{"source": "/srv/data", **values})
    return settings.model_copy(update={"mounts": {"data": mount}})


def test_a_mount_is_the_operators_by_name(settings: Settings) -> None:
    spec = build(mounting(settings, read_only=False), mounts=[{"name": "data", "path": "/data"}])
    assert spec.mounts == (Mount("/srv/data", "/data", read_only=False),)


@pytest.mark.parametrize("rule", [{"namespaces": ("other",)}, {"regions": ("OTHER",)}])
def test_a_mount_that_is_not_for_the_run_fails_it(settings: Settings, rule: dict[str, Any]) -> None:
    with pytest.raises(StartFailed, match="data"):
        build(mounting(settings, **rule), mounts=[{"name": "data", "path": "/data"}])
    with pytest.raises(StartFailed, match="gone"):
        build(settings, mounts=[{"name": "gone", "path": "/data"}])


@pytest.mark.parametrize(
    ("host", "repo"),
    [("a.example.com", "a.example.com/a"), ("localhost", "localhost/a"), ("h:5", "h:5/a"), ("docker.io", "a/b")],
)
def test_credentials_are_those_of_the_images_registry(settings: Settings, host: str, repo: str) -> None:
    registry = Registry(username="u", password=SecretStr("p"))
    with_registry = settings.model_copy(update={"registries": {host: registry}})
    assert build(with_registry, docker_image_repo=repo).registry_auth == RegistryAuth("u", "p")
    assert build(with_registry, docker_image_repo="other.example.com/a").registry_auth is None


def test_a_registry_that_is_bound_to_namespaces_shuts_the_others_out(settings: Settings) -> None:
    registry = Registry(username="u", password=SecretStr("p"), namespaces=("team",))
    bound = settings.model_copy(update={"registries": {"index.example.com": registry}})
    assert build(bound, docker_image_repo="index.example.com/a", namespace="team").registry_auth
    with pytest.raises(ImagePullFailed, match="not for the namespace other"):
        build(bound, docker_image_repo="index.example.com/a", namespace="other")
