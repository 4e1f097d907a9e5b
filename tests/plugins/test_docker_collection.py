"""Images above a limit are collected, and never one that somebody stands on."""

import docker
import pytest

from jobd.executor import Region, RunSpec
from jobd_docker.executor import DockerExecutor
from jobd_docker.options import DockerOptions
from tests.engines import OwnEngine, import_busybox


def spec(image: str) -> RunSpec:
    return RunSpec("i", "d", "e", 1, "n", image, ("true",), {}, 0.1, 2**26, 2**20)


def executor(own_engine: OwnEngine, images: int) -> tuple[DockerExecutor, list[str]]:
    """An executor whose limit is two images of the `images` that there are; their names, the oldest first."""
    client = docker.APIClient(own_engine.socket)
    names = [import_busybox(client, f"image-{number}") for number in range(images)]
    limit = f"{2 * client.inspect_image(names[0])['Size'] // 2**20 + 1}MB"
    client.close()
    options = DockerOptions(socket=own_engine.socket, network="none", image_disk=limit)
    return DockerExecutor(Region("R", "i", options)), names


def names_left(own_engine: OwnEngine) -> set[str]:
    client = docker.APIClient(own_engine.socket)
    left = {name for image in client.images() for name in image["RepoTags"]}
    client.close()
    return left


def test_the_longest_unused_images_go_until_the_rest_fits(own_engine: OwnEngine) -> None:
    made, names = executor(own_engine, 4)
    made.remove(made.create(spec(names[0])), force=True)
    made.tidy()
    left = names_left(own_engine)
    assert len(left) == 2
    assert names[0] in left
    made.tidy()
    assert names_left(own_engine) == left
    made.close()


def test_an_image_that_a_container_stands_on_stays(own_engine: OwnEngine) -> None:
    made, names = executor(own_engine, 3)
    handles = [made.create(spec(name)) for name in names]
    made.tidy()
    assert names_left(own_engine) == set(names)
    for handle in handles:
        made.remove(handle, force=True)
    made.close()


def test_without_a_limit_nothing_is_removed(own_engine: OwnEngine) -> None:
    _, names = executor(own_engine, 3)
    made = DockerExecutor(Region("R", "i", DockerOptions(socket=own_engine.socket, network="none")))
    made.tidy()
    assert names_left(own_engine) == set(names)
    made.close()


@pytest.mark.parametrize("text", ["", "20", "GB", "20 GiB", "-1GB"])
def test_a_limit_that_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a size"):
        DockerOptions(image_disk=text)
