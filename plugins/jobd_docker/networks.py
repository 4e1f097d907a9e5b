"""The network of jobd's own: a bridge whose containers reach the world but not each other."""

import random
import time

import docker

from jobd_docker.options import JOBD_NETWORK

ATTEMPTS = 10


def ensure(client: docker.APIClient) -> None:
    """Make the network unless it is there.

    Docker lets two that ask at once make two of one name, and then starts nothing in either. So whoever sees
    another network beside its own removes its own and looks again: of two, at least one sees the other.
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
        # not in step with the other
        time.sleep(random.uniform(0, 0.05 * 2**attempt))  # noqa: S311


def _named(client: docker.APIClient) -> list[str]:
    # Docker's filter finds parts of names, too
    return [found["Id"] for found in client.networks(names=[JOBD_NETWORK]) if found["Name"] == JOBD_NETWORK]
