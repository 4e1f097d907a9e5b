"""Options of the command line, and the executor under test."""

from collections.abc import Callable, Iterator

import pytest
from pydantic import ValidationError

from jobd import plugins
from jobd.conformance.bench import Bench, Ends
from jobd.executor import Executor, Region


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("jobd.conformance", "the executor contract of jobd")
    group.addoption("--executor", metavar="KIND", help="kind of the executor under test, as `executor = ` in jobd.ini")
    group.addoption("--image", default="busybox:stable", help="image with sh, echo, sleep, true and false")
    group.addoption("--patience", type=float, default=60.0, help="seconds to wait for what should happen")
    group.addoption("--option", action="append", default=[], metavar="KEY=VALUE", help="an INI key of the region")


@pytest.fixture(scope="session")
def build(request: pytest.FixtureRequest) -> Callable[[str], Executor]:
    """Makes executors of the kind under test, looked up as jobd does, with the options of the command line."""
    kind = request.config.getoption("--executor")
    kinds = plugins.executor_kinds(plugins.build())
    if kind not in kinds:
        pytest.exit(f"--executor {kind}: no installed plugin offers it; there are {', '.join(kinds) or 'none'}", 4)
    options = dict(pair.partition("=")[::2] for pair in request.config.getoption("--option"))
    try:
        validated = kinds[kind].options(**options)
    except ValidationError as error:
        pytest.exit(f"--option: {error}", 4)
    return lambda installation: kinds[kind](Region("CONFORMANCE", installation, validated))


@pytest.fixture
def bench(request: pytest.FixtureRequest, build: Callable[[str], Executor]) -> Iterator[Bench]:
    bench = Bench(build, request.config.getoption("--image"), request.config.getoption("--patience"))
    yield bench
    bench.clear()


@pytest.fixture
def ends(bench: Bench) -> Iterator[Ends]:
    """What the executor pushes."""
    ends = Ends()
    stop = bench.executor.watch(ends)
    if stop is None:
        pytest.skip("this executor has no push, as the contract allows: jobd asks it instead")
    yield ends
    stop()
