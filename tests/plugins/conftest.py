"""A real Docker, an image without a registry, and a real registry."""

import uuid
from collections.abc import Iterator

import docker
import pytest

from jobd.conformance.bench import Bench
from jobd.executor import Region
from jobd_docker.executor import DockerExecutor
from jobd_docker.options import DockerOptions
from tests.engines import SOCKET, OwnEngine, import_busybox, started_engine
from tests.registries import Registry, registry_in
from tests.services import missing


@pytest.fixture(scope="session")
def engine() -> Iterator[docker.APIClient]:
    """A client of the test's own, beside the executor's."""
    try:
        client = docker.APIClient(SOCKET, version="auto")
    except docker.errors.DockerException as error:
        missing(f"a Docker engine at {SOCKET} ({error})")
    yield client
    client.close()


@pytest.fixture(scope="session")
def image(engine: docker.APIClient) -> Iterator[str]:
    name = import_busybox(engine, f"jobd-test-{uuid.uuid4().hex[:12]}")
    yield name
    engine.remove_image(name, force=True)


def docker_bench(image: str, **options: object) -> Bench:
    validated = DockerOptions(**{"socket": SOCKET, **options})
    return Bench(lambda installation: DockerExecutor(Region("TEST", installation, validated)), image)


@pytest.fixture
def bench(engine: docker.APIClient, image: str) -> Iterator[Bench]:
    """An executor with the default options, on the real engine."""
    bench = docker_bench(image)
    yield bench
    bench.clear()


@pytest.fixture(scope="session")
def private_registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    with registry_in(tmp_path_factory.mktemp("private"), ("ann", "right")) as registry:
        yield registry


@pytest.fixture
def own_engine() -> Iterator[OwnEngine]:
    with started_engine() as engine:
        yield engine
