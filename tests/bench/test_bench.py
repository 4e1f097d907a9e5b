"""A bench of each kind runs, with numbers so small that they say nothing; how fast jobd is no test asserts."""

from collections.abc import Iterator

import pytest

from tests.bench.benches import BENCHES
from tests.bench.measure import at_least, at_most, by_rounds, by_samples, interleaved, percentile
from tests.bench.scale import TINY
from tests.bench.world import World


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    made = World(TINY)
    yield made
    made.close()


QUICK = ("exec-latency", "engine-rate", "fire-rate", "cold-start", "hostile")
"""One of each kind; `script/bench --quick` runs the others."""


@pytest.mark.parametrize("name", QUICK)
def test_a_bench_measures_something(name: str, world: World) -> None:
    figures = BENCHES[name](world)
    assert {figure.bench for figure in figures} == {name}
    assert all(figure.value >= 0 and figure.count > 0 for figure in figures)
    assert all(figure.ratio >= 0 for figure in figures if figure.ratio is not None)


def test_subject_and_floor_take_turns() -> None:
    order: list[str] = []

    def measured(name: str) -> float:
        order.append(name)
        return 1.0

    interleaved(3, lambda: measured("subject"), lambda: measured("floor"))
    assert order == ["subject", "floor", "floor", "subject", "subject", "floor"]


def test_the_ratio_of_rounds_is_the_median_of_theirs() -> None:
    figure = by_rounds("b", "w", "s", [(2, 1), (9, 3), (4, 1)], at_most(3))
    assert (figure.ratio, figure.low, figure.high, figure.met) == (3, 2, 4, True)


def test_a_goal_is_held_against_the_ratio_of_the_statistic() -> None:
    figure = by_samples("b", "w", "s", [(n, 2 * n) for n in range(1, 101)], percentile(0.95), at_least(0.6))
    assert (figure.value, figure.floor, figure.ratio, figure.met) == (96, 192, 0.5, False)
