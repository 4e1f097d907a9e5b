"""The command-line options and the fixtures of the conformance tests."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest
from pydantic import ValidationError

from jobd import plugins
from jobd.conformance.bench import Bench, Ends
from jobd.executor import Executor, Handle, Region, RunSpec


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("jobd.conformance", "the executor contract of jobd")
    group.addoption("--executor", metavar="KIND", help="kind of the executor under test, as `executor = ` in jobd.ini")
    group.addoption("--image", default="busybox:stable", help="image with sh, echo, sleep, true and false")
    group.addoption("--patience", type=float, default=60.0, help="seconds to wait for what should happen")
    group.addoption("--survives", action="store_true", help="runs outlive the process that started them")
    group.addoption("--option", action="append", default=[], metavar="KEY=VALUE", help="an INI key of the region")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Whether runs outlive jobd is the executor's choice; without `--survives` it is not tested."""
    if not config.getoption("--survives"):
        items[:] = [item for item in items if item.get_closest_marker("survives") is None]


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "survives: for executors whose runs outlive jobd, with --survives")


def _options(config: pytest.Config) -> dict[str, str]:
    return dict(pair.partition("=")[::2] for pair in config.getoption("--option"))


@pytest.fixture(scope="session")
def build(request: pytest.FixtureRequest) -> Callable[[str], Executor]:
    """Makes executors of the kind under test, found as jobd finds them, with the options of the command line."""
    kind = request.config.getoption("--executor")
    kinds = plugins.executor_kinds(plugins.build())
    if kind not in kinds:
        pytest.exit(
            f"--executor {kind}: no installed plugin offers it; expected one of: {', '.join(kinds) or 'none'}", 4
        )
    try:
        validated = kinds[kind].options(**_options(request.config))
    except ValidationError as error:
        pytest.exit(f"--option: {error}", 4)
    return lambda installation: kinds[kind](Region("CONFORMANCE", installation, validated))


@pytest.fixture
def bench(request: pytest.FixtureRequest, build: Callable[[str], Executor]) -> Iterator[Bench]:
    bench = Bench(build, request.config.getoption("--image"), request.config.getoption("--patience"))
    yield bench
    bench.clear()


@pytest.fixture
def start_elsewhere(request: pytest.FixtureRequest, bench: Bench) -> Callable[[RunSpec], Handle]:
    """Starts a run from another process, which is killed right after, as jobd may be."""

    def start(spec: RunSpec) -> Handle:
        order = {
            "kind": request.config.getoption("--executor"),
            "options": _options(request.config),
            "spec": {
                "installation": spec.installation,
                "exec_id": spec.exec_id,
                "image": spec.image,
                "argv": spec.argv,
            },
        }
        command = [sys.executable, "-m", "jobd.conformance.starter"]
        ran = subprocess.run(command, input=json.dumps(order), capture_output=True, text=True, timeout=bench.patience)
        assert ran.stdout.startswith("started "), ran.stdout + ran.stderr
        return bench.adopt(Handle(ran.stdout.split()[1]))

    return start


@pytest.fixture
def ends(bench: Bench) -> Iterator[Ends]:
    """The ends that the executor reports to a watch."""
    ends = Ends()
    stop = bench.executor.watch(ends)
    if stop is None:
        pytest.skip("this executor has no watch, as the contract allows: jobd polls it instead")
    yield ends
    stop()
