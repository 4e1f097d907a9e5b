"""jobd's own network: a bridge whose containers can reach the outside but not each other."""

import random
import time

import docker

from jobd_docker.options import JOBD_NETWORK

ATTEMPTS = 10


def ensure(client: docker.APIClient) -> None:
    """Create the network unless it exists.

    If two clients do so at once, Docker creates two networks with the same name, and then starts nothing in either. So
    one that sees another network besides its own removes its own and checks again: of two, at least one sees the other.
    """
    for attempt in range(ATTEMPTS):
        if _named(client):
            return
        own = client.create_network(
            JOBD_NETWORK,
            driver="bridge",
            options={"com.docker.network.bridge.enable_icc": "false"},
            labels={"jobd.network": JOBD_NETWORK},
        )["Id"]
        if _named(client) == [own]:
            return
        client.remove_network(own)
        # Random, so as not to be in step with the other.
        time.sleep(random.uniform(0, 0.05 * 2**attempt))  # noqa: S311


def _named(client: docker.APIClient) -> list[str]:
    # Docker's filter also matches parts of names.
    return [network["Id"] for network in client.networks(names=[JOBD_NETWORK]) if network["Name"] == JOBD_NETWORK]
