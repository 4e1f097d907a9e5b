"""Images from a real registry, and what is told when one cannot be had."""

import base64
import json
import uuid

import docker
import pytest

from jobd.conformance.bench import Bench
from jobd.errors import ImageAbsent, ImageNotFound, ImagePullFailed
from jobd.executor import RegistryAuth, State
from jobd_docker.images import failure
from tests.registries import Registry
from tests.services import free_port


@pytest.fixture
def pushed(registry: Registry, engine: docker.APIClient, image: str):
    name = registry.push(engine, image, f"team/{uuid.uuid4().hex[:12]}:v1")
    yield name
    remove(engine, name)


@pytest.fixture
def pushed_privately(private_registry: Registry, engine: docker.APIClient, image: str):
    name = private_registry.push(engine, image, f"team/{uuid.uuid4().hex[:12]}:v1")
    yield name
    remove(engine, name)


def remove(engine: docker.APIClient, name: str) -> None:
    """The name only: the image itself is the session's."""
    for image in engine.images(name):
        for tag in [*(image["RepoTags"] or ()), *(image["RepoDigests"] or ())]:
            if tag.startswith(name.rpartition(":")[0]):
                engine.remove_image(tag)


def test_an_image_is_pulled_and_runs(bench: Bench, pushed: str):
    spec = bench.spec("echo", "pulled", image=pushed)
    with pytest.raises(ImageAbsent):
        bench.executor.create(spec)
    bench.executor.pull(spec)
    _, status = bench.run(spec)
    assert (status.state, status.exit_code) == (State.ENDED, 0)
    bench.clear()


def test_an_image_is_pulled_by_its_digest(bench: Bench, pushed: str, engine: docker.APIClient):
    digest = engine.inspect_distribution(pushed)["Descriptor"]["digest"]
    spec = bench.spec("true", image=f"{pushed.rpartition(':')[0]}@{digest}")
    bench.executor.pull(spec)
    handle, status = bench.run(spec)
    assert (status.exit_code, handle.image_digest) == (0, digest)
    bench.clear()


def test_a_tag_that_is_missing_is_told(bench: Bench, pushed: str):
    missing = f"{pushed.rpartition(':')[0]}:v2"
    with pytest.raises(ImageNotFound, match=f"{missing} is not in its registry: manifest"):
        bench.executor.pull(bench.spec("true", image=missing))


def test_a_repository_that_is_missing_is_told(bench: Bench, registry: Registry):
    with pytest.raises(ImageNotFound, match="no/such:v1 is not in its registry"):
        bench.executor.pull(bench.spec("true", image=f"{registry.host}/no/such:v1"))


def test_a_registry_that_does_not_answer_is_told(bench: Bench):
    image = f"127.0.0.1:{free_port()}/team/app:v1"
    with pytest.raises(ImagePullFailed, match=f"{image}: its registry cannot be reached: .*connection refused"):
        bench.executor.pull(bench.spec("true", image=image))


def test_right_credentials_get_the_image(bench: Bench, pushed_privately: str):
    spec = bench.spec("true", image=pushed_privately, registry_auth=RegistryAuth("ann", "right"))
    bench.executor.pull(spec)
    assert bench.run(spec)[1].exit_code == 0
    bench.clear()


def test_wrong_credentials_are_told_by_their_name_only(bench: Bench, pushed_privately: str):
    spec = bench.spec("true", image=pushed_privately, registry_auth=RegistryAuth("ann", "wr0ng"))
    with pytest.raises(ImagePullFailed, match="its registry refuses the credentials of ann") as told:
        bench.executor.pull(spec)
    assert "wr0ng" not in told.value.message


def test_no_credentials_where_some_are_wanted_is_told(bench: Bench, pushed_privately: str):
    with pytest.raises(ImagePullFailed, match="its registry wants credentials, and there are none for it"):
        bench.executor.pull(bench.spec("true", image=pushed_privately))


def test_credentials_of_the_daemons_own_account_are_not_a_tenants(
    bench: Bench, pushed_privately: str, private_registry: Registry, tmp_path, monkeypatch: pytest.MonkeyPatch
):
    login = {"auths": {private_registry.host: {"auth": base64.b64encode(b"ann:right").decode()}}}
    (tmp_path / "config.json").write_text(json.dumps(login))
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    with pytest.raises(ImagePullFailed, match="there are none for it"):
        bench.executor.pull(bench.spec("true", image=pushed_privately))


def test_never_means_never(bench: Bench, pushed: str):
    with pytest.raises(ImageNotFound, match="its pull policy is `never`"):
        bench.executor.pull(bench.spec("true", image=pushed, pull_policy="never"))


@pytest.mark.parametrize("image", ["Team/App:v1", "team/app:-v1", "team//app:v1"])
def test_a_name_that_is_none_is_told(bench: Bench, image: str):
    with pytest.raises(ImageNotFound, match="is not a valid image name"):
        bench.executor.pull(bench.spec("true", image=image))


@pytest.mark.parametrize(
    ("words", "kind"),
    [
        ("pull access denied for x, repository does not exist or may require 'docker login'", ImageNotFound),
        ("manifest for x:1 not found: manifest unknown: manifest unknown", ImageNotFound),
        ("no matching manifest for linux/arm64 in the manifest list entries", ImageNotFound),
        ('Get "https://h/v2/": dial tcp: lookup h on 10.0.0.1:53: no such host', ImagePullFailed),
        ('Get "https://h/v2/": dial tcp: lookup h: server not found', ImagePullFailed),
        ('Get "https://h/v2/": net/http: TLS handshake timeout', ImagePullFailed),
        ('Get "https://h/v2/": x509: certificate signed by unknown authority', ImagePullFailed),
        ("toomanyrequests: You have reached your pull rate limit", ImagePullFailed),
        ("write /var/lib/docker/tmp/GetImageBlob1: no space left on device", ImagePullFailed),
    ],
)
def test_words_of_registries_that_are_not_here(words: str, kind: type):
    told = failure("x:1", words, None)
    assert type(told) is kind
    assert words in told.message
