"""The whole executor contract through a real sshd, on both ways to the socket."""

from collections.abc import Iterator

import pytest

from jobd.conformance.bench import Bench
from jobd.conformance.fixtures import ends as ends
from jobd.conformance.test_life import *  # noqa: F403
from jobd.conformance.test_output import *  # noqa: F403
from tests.plugins.sshd import Sshd
from tests.services import require


@pytest.fixture(scope="module", params=["streamlocal", "dial-stdio"])
def way(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    server = Sshd(tmp_path_factory.mktemp("sshd")).start()
    yield server
    server.stop()


@pytest.fixture
def bench(server: Sshd, image: str, way: str) -> Iterator[Bench]:
    bench = server.bench(image, transport=way, docker=require("docker-cli"))
    yield bench
    bench.clear()
