"""Where a job may have a mount: nowhere at, in or above what the kernel and the runtime put into a container."""

import pytest

from tests.api.server import JOB, Api

pytestmark = pytest.mark.gen_test(timeout=30)


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    """One kind of database is enough: what is wrong gets to none."""
    return sqlite_url


COVERING = [
    "/",
    "//",
    "/.",
    "/a/..",
    *(
        path
        for name in ("proc", "sys", "dev")
        for path in (
            f"/{name}",
            f"//{name}",
            f"///{name}",
            f"/./{name}",
            f"/a/../{name}",
            f"/../{name}",
            f"/{name}/",
            f"/{name}/x",
            f"//{name}//x",
        )
    ),
    "/dev/shm/x",
    "/sys/fs/cgroup",
    "/proc/self/fd",
]


@pytest.mark.parametrize("path", COVERING)
async def test_a_mount_over_the_kernels_folders_is_refused_with_words(api: Api, path: str) -> None:
    answer = await api.call("POST", "/v1/jobs", {**JOB, "mounts": [{"name": "data", "path": path}]})
    assert answer.status == 400
    (fault,) = answer.faults["mounts"]
    assert f"{path!r} is not allowed: a mount must not be at /, nor at or inside /proc, /sys or /dev" in fault


@pytest.mark.parametrize(
    "path", ["/a/", "//a", "/a//b", "/a/./b", "/a/../b", "a", "", "/a\nb", "/a\0", "/" + "x" * 4095]
)
async def test_a_mount_at_what_is_no_plain_path_is_refused(api: Api, path: str) -> None:
    answer = await api.call("POST", "/v1/jobs", {**JOB, "mounts": [{"name": "data", "path": path}]})
    assert answer.status == 400
    assert list(answer.faults) == ["mounts"]


@pytest.mark.parametrize("path", ["/data", "/procs", "/system", "/devices/x", "/a/proc", "/数据", "/a b"])
async def test_only_the_mounts_name_is_wrong_with_a_right_path(api: Api, path: str) -> None:
    answer = await api.call("POST", "/v1/jobs", {**JOB, "mounts": [{"name": "absent", "path": path}]})
    (fault,) = answer.faults["mounts"]
    assert "'absent' is not available" in fault
