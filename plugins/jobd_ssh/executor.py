"""Docker on another machine, reached over SSH."""

import docker
from docker.constants import MINIMUM_DOCKER_API_VERSION

from jobd.executor import Region
from jobd_docker.attaching import Connection
from jobd_docker.client import TIMEOUT
from jobd_docker.executor import EngineExecutor
from jobd_ssh.adapter import ChannelAdapter
from jobd_ssh.links import Links
from jobd_ssh.options import SshOptions


class SshExecutor(EngineExecutor):
    """The engine behind an SSH server. Its links outlive its clients, which are replaced after a failed check."""

    options = SshOptions

    def __init__(self, region: Region) -> None:
        super().__init__(region)
        assert isinstance(region.options, SshOptions)  # noqa: S101
        self._host = region.options.host
        self._links = Links(region.options)

    @property
    def place(self) -> str:
        return f"ssh://{self._host}"

    def connect(self) -> docker.APIClient:
        # For a URL scheme that it knows, docker-py would connect by itself and request the version at once.
        client = docker.APIClient("http://ssh:80", version=MINIMUM_DOCKER_API_VERSION, timeout=TIMEOUT)
        client.trust_env = False
        # By this scheme docker-py finds the socket of a hijacked connection.
        client.base_url = "http+docker://ssh"
        client.adapters.clear()
        client.mount(client.base_url, ChannelAdapter(self._links.open))
        client._version = client.version(api_version=False)["ApiVersion"]  # type: ignore[attr-defined]
        return client

    def dial(self) -> Connection:
        return self._links.open()

    def close(self) -> None:
        super().close()
        self._links.close()
