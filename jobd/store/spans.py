"""Between which ids the rows lie that were created in a span of time, as far as `tallies` has added them.

Ids nearly always rise with time, except where a clock was wrong. The bounds hold for all rows whatever the clock did;
they only become wider. After `up_to` there are a few hundred rows, which are checked one by one.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from jobd.store import tallies
from jobd.store.db import sql
from jobd.store.db.columns import InstantField
from jobd.store.db.pages import Count
from jobd.store.tallies import BLOCK, Source

_INSTANT = InstantField()


@dataclass(frozen=True)
class Span:
    """From `first` to `last` (None: without end) there may be rows of a time; from `sure` to `sure_last` there are no
    others.
    """

    first: int
    last: int | None
    sure: int
    sure_last: int


def between(source: Source, since: datetime | None, until: datetime | None) -> Span:
    """The ids of rows that were created at `since` or later and before `until`."""
    from_at = None if since is None else _INSTANT.db_value(since)
    to_at = None if until is None else _INSTANT.db_value(until)
    text = f"SELECT up_to, {_BLOCKS}, ({_NEWEST}) FROM tallied WHERE source = ?"  # noqa: S608
    text = text.format(key=source.key, table=source.table, at=source.at)
    parameters = (from_at, from_at, to_at, to_at, to_at, source.table)
    ((up_to, first, before, last, after, newest),) = sql.rows(source.model, text, *parameters)
    # Where SQLite reuses ids, spans of deleted rows may lie after `up_to`.
    begin = 0 if since is None else up_to + 1 if first is None else min(first * BLOCK, up_to + 1)
    sure = 0 if before is None else (before + 1) * BLOCK
    sure_last = up_to if after is None else min(after * BLOCK - 1, up_to)
    if until is None:
        return Span(begin, None, sure, sure_last)
    end = newest if newest is not None else -1 if last is None else (last + 1) * BLOCK - 1
    return Span(begin, end, sure, sure_last)


_BLOCKS = ", ".join(
    f"(SELECT {chosen}(block) FROM spans WHERE source = tallied.source AND {condition})"  # noqa: S608
    for chosen, condition in (("min", "most >= ?"), ("max", "least < ?"), ("max", "least < ?"), ("min", "most >= ?"))
)
_NEWEST = "SELECT max({key}) FROM {table} WHERE {key} > up_to AND {at} < ?"


@dataclass(frozen=True)
class CreatedBetween:
    """Rows of `source` that were created at `since` or later and before `until`."""

    source: Source
    since: datetime | None
    until: datetime | None

    def among(self, query: Any) -> tuple[Any, Count | None]:
        """Those of the query's rows, and a way to count them up to a limit that need not look at each of them."""
        if self.since is None and self.until is None:
            return query, None
        fields = self.source.model._meta.fields
        key, at = fields[self.source.key], fields[self.source.at]
        span = between(self.source, self.since, self.until)
        may, is_theirs = [key >= span.first], []
        if self.since is not None:
            is_theirs.append(at >= self.since)
        if self.until is not None:
            may.append(key <= span.last)
            is_theirs.append(at < self.until)
        theirs = query.where(*may, *is_theirs)
        if span.sure > span.sure_last:
            return theirs, None

        def count(limit: int | None) -> int:
            # Without a condition on their time, an index alone suffices to count them.
            number = int(query.where(key.between(span.sure, span.sure_last)).limit(limit).count())
            for part in (key < span.sure, key > span.sure_last):
                left = None if limit is None else limit - number
                if left is None or left > 0:
                    number += int(theirs.where(part).limit(left).count())
            return number

        return theirs, count


def moved(source: Source, id: int, at: datetime) -> None:
    """Widen the span of a row whose creation time was changed in this transaction."""
    tallies.shared(source)
    instant = _INSTANT.db_value(at)
    for column, sign in (("least", ">"), ("most", "<")):
        text = f"UPDATE spans SET {column} = ? WHERE source = ? AND block = ? AND {column} {sign} ?"  # noqa: S608
        sql.execute(source.model, text, instant, source.table, id // BLOCK, instant)
