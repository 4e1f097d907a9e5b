"""Figures: a ratio of what jobd takes to what the least code takes that could do the work, measured in turn."""

import random
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

Pair = tuple[float, float]
"""Of one round: jobd's measure and the floor's."""
Statistic = Callable[[Sequence[float]], float]


@dataclass(frozen=True)
class Goal:
    """What a ratio, or without a floor the figure itself, must come to."""

    bound: float
    at_most: bool

    def __str__(self) -> str:
        return f"{'≤' if self.at_most else '≥'} {self.bound:g}"

    def met_by(self, value: float) -> bool:
        return value <= self.bound if self.at_most else value >= self.bound


def at_most(bound: float) -> Goal:
    return Goal(bound, at_most=True)


def at_least(bound: float) -> Goal:
    return Goal(bound, at_most=False)


@dataclass(frozen=True)
class Figure:
    """One row of the table. `low` and `high` are the spread of the ratio, or of the figure where there is no floor."""

    bench: str
    what: str
    unit: str
    value: float
    low: float
    high: float
    count: int
    floor: float | None = None
    ratio: float | None = None
    goal: Goal | None = None

    @property
    def met(self) -> bool | None:
        """None where there is no goal."""
        return None if self.goal is None else self.goal.met_by(self.value if self.ratio is None else self.ratio)


def interleaved(rounds: int, subject: Callable[[], float], floor: Callable[[], float]) -> list[Pair]:
    """Measure both in each round, now the one first and now the other, so that neither has the quieter machine."""
    pairs = []
    for number in range(rounds):
        if number % 2:
            second = floor()
            pairs.append((subject(), second))
        else:
            pairs.append((subject(), floor()))
    return pairs


def by_rounds(bench: str, what: str, unit: str, pairs: Sequence[Pair], goal: Goal | None = None) -> Figure:
    """The median of the rounds' ratios; the spread is the lowest and the highest of them."""
    ratios = [subject / floor for subject, floor in pairs]
    return Figure(
        bench,
        what,
        unit,
        statistics.median(subject for subject, _ in pairs),
        min(ratios),
        max(ratios),
        len(pairs),
        statistics.median(floor for _, floor in pairs),
        statistics.median(ratios),
        goal,
    )


def by_samples(
    bench: str, what: str, unit: str, pairs: Sequence[Pair], statistic: Statistic, goal: Goal | None = None
) -> Figure:
    """The ratio of one statistic of many short measures; the spread is where 90 % of resampled ratios lie."""

    def ratio(sample: Sequence[Pair]) -> float:
        return statistic([subject for subject, _ in sample]) / statistic([floor for _, floor in sample])

    chance = random.Random(0)
    resampled = sorted(ratio(chance.choices(pairs, k=len(pairs))) for _ in range(200))
    return Figure(
        bench,
        what,
        unit,
        statistic([subject for subject, _ in pairs]),
        resampled[10],
        resampled[-11],
        len(pairs),
        statistic([floor for _, floor in pairs]),
        ratio(pairs),
        goal,
    )


def alone(
    bench: str,
    what: str,
    unit: str,
    values: Sequence[float],
    goal: Goal | None = None,
    statistic: Statistic | None = None,
) -> Figure:
    """A figure without a floor: the median of its measures, or another statistic of them."""
    value = (statistic or statistics.median)(values)
    return Figure(bench, what, unit, value, min(values), max(values), len(values), goal=goal)


def percentile(share: float) -> Statistic:
    """`percentile(0.95)`: what 95 % of the values do not exceed."""

    def of(values: Sequence[float]) -> float:
        return sorted(values)[min(int(len(values) * share), len(values) - 1)]

    return of
