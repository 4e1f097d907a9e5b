"""Lists over HTTP: a page of few rows and the same of a hundred times as many, by each way of counting and filter."""

import http.client
import json
import statistics
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from urllib.parse import urlencode

import psycopg2

from jobd.store.db.columns import Table
from jobd.store.db.tables import Audit, Exec, Job, Namespace
from jobd.store.people import accounts
from tests.bench.measure import Figure, Pair, at_most, by_rounds
from tests.bench.rows import add_ended_execs, add_jobs, add_up
from tests.bench.world import DATABASES, World

TIMES = 100
RARE = 25
"""Rows that a filter for something rare finds, spread over all of them, however many those are."""
GOALS = {"exact": at_most(3), "bounded": at_most(1.67), "none": at_most(1.67)}
TALLIED = ("", "namespace", "job")
"""Filters whose rows are not counted for an exact page; with others there is no goal for it."""
SEEDS = 500
"""Rows made one by one; the others are copies of them."""
MODELS: dict[str, type[Table]] = {"jobs": Job, "execs": Exec, "audit": Audit}
KEPT = {"execs": "kept = 1000000"}

Filters = dict[str, dict[str, str]]


@dataclass
class Served:
    """A daemon whose lists have so many rows, all of them in the namespace of whoever asks."""

    connection: http.client.HTTPConnection
    token: str
    rows: int
    began: datetime

    def took(self, path: str, query: dict[str, str], looks: int) -> float:
        """Milliseconds of a page, the median of so many."""
        return 1000 * statistics.median(self._ask(f"{path}?{urlencode(query)}") for _ in range(looks))

    def at(self, share: float) -> str:
        """The instant before which so much of the rows was made."""
        return (self.began + timedelta(seconds=self.rows * share)).isoformat()

    def _ask(self, path: str) -> float:
        began = time.perf_counter()
        self.connection.request("GET", path, headers={"Authorization": f"Token {self.token}"})
        answer = self.connection.getresponse()
        body = answer.read()
        took = time.perf_counter() - began
        assert answer.status == 200, body
        json.loads(body)
        return took


def lists(world: World) -> list[Figure]:
    return [figure for kind in DATABASES for figure in _of_database(world, kind)]


def _of_database(world: World, kind: str) -> list[Figure]:
    figures = []
    with ExitStack() as stack:
        least, most = (stack.enter_context(_served(world, kind, world.scale.growth * n)) for n in (1, TIMES))
        sizes = f"{most.rows:,} against {least.rows:,}"
        for path, named in _filters(least).items():
            for name in named:
                for way, goal in GOALS.items():
                    goal = goal if way != "exact" or name in TALLIED else None
                    pairs = _pairs(world, least, most, path, name, way)
                    what = f"{path}{' of ' if name else ''}{name}, {way}, {sizes}, {kind}"
                    figures.append(by_rounds("lists", what, "ms", pairs, goal))
    return figures


def _pairs(world: World, least: Served, most: Served, path: str, name: str, way: str) -> list[Pair]:
    def took(served: Served) -> float:
        counting = {} if way == "exact" else {"count": way}
        return served.took(path, {**_filters(served)[path][name], **counting}, world.scale.looks)

    return [(took(most), took(least)) for _ in range(world.scale.rounds)]


def _filters(served: Served) -> dict[str, Filters]:
    """What lists are filtered by: something that most rows are, that few are, and that none is."""
    times: Filters = {
        "since, all": {"since": served.at(0)},
        "since, half": {"since": served.at(0.5)},
        "since, none": {"since": served.at(1.5)},
        "until, all": {"until": served.at(1.5)},
        "until, half": {"until": served.at(0.5)},
        "until, few": {"until": served.at(RARE / served.rows)},
        "until, none": {"until": served.at(-1)},
    }
    return {
        "/v1/jobs": {
            "": {},
            "namespace": {"namespace": "bench"},
            "name, most": {"name": "bench"},
            "name, few": {"name": "rare"},
            "region, most": {"region": "DRYRUN"},
            "region, few": {"region": "RARE"},
            "scheduled=false, most": {"scheduled": "false"},
            "scheduled=true, few": {"scheduled": "true"},
            "label, most": {"label": "team=bench"},
            "label, few": {"label": "team=rare"},
            "label, none": {"label": "team=none"},
        },
        "/v1/execs": {
            "": {},
            "namespace": {"namespace": "bench"},
            "job": {"job": "1"},
            "status, most": {"status": "S"},
            "status, few": {"status": "F"},
            "status, none": {"status": "C"},
            "region, most": {"region": "DRYRUN"},
            "region, few": {"region": "RARE"},
            **times,
        },
        "/v1/audit": {"": {}, "actor, most": {"actor": "bench"}, "actor, few": {"actor": "rare"}, **times},
    }


@contextmanager
def _served(world: World, kind: str, rows: int) -> Iterator[Served]:
    began = datetime.now(UTC).replace(microsecond=0) - timedelta(days=3)
    with world.database(kind) as (url, database):
        add_jobs(database, min(rows, SEEDS))
        add_ended_execs(database, 1, min(rows, SEEDS))
        database.write_sync(_fill, rows, Namespace.created_at.db_value(began))
        if not database.is_sqlite:
            _vacuum(url)
        add_up(database)
        with world.daemon(KEPT, url=url) as daemon:
            database.write_sync(accounts.create_user, "bench")
            token = database.write_sync(accounts.create_token, "bench", "bench")
            with closing(http.client.HTTPConnection("127.0.0.1", daemon.port)) as connection:
                yield Served(connection, token, rows, began)


def _vacuum(url: str) -> None:
    """As PostgreSQL does by itself after a while."""
    with closing(psycopg2.connect(url)) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute("VACUUM ANALYZE")


def _fill(rows: int, began: int) -> None:
    """So many of each kind, execs and the audit's records made one a second from `began`, and the rare ones of them."""
    run = Job._meta.database.execute_sql
    Namespace.insert(name="bench", created_at=began).execute()
    Audit.insert(
        at=began, namespace="bench", actor="bench", address="", request_id="", action="a", subject="1"
    ).execute()
    for table, key, own in (("jobs", "id", ""), ("execs", "seq", "id"), ("audit", "id", "")):
        names = [
            field.column_name for field in MODELS[table]._meta.sorted_fields if field.column_name not in (key, own)
        ]
        into, source = ", ".join([own, *names] if own else names), ", ".join(names)
        have = run(f"SELECT count(*) FROM {table}").fetchone()[0]
        while have < rows:
            new = f"CAST({key} + {have} AS VARCHAR(36)), " if own else ""
            run(f"INSERT INTO {table} ({into}) SELECT {new}{source} FROM {table} ORDER BY {key} LIMIT {rows - have}")
            have = min(2 * have, rows)
    run(f"UPDATE execs SET created_at = {began} + seq * 1000000")
    run("UPDATE execs SET job_id = seq WHERE seq - seq / 2 * 2 = 0")
    run(f"UPDATE audit SET at = {began} + id * 1000000")
    apart = max(rows // RARE, 1)
    run(f"UPDATE execs SET status = 'F', region_name = 'RARE' WHERE seq - seq / {apart} * {apart} = 1")
    run(f"UPDATE audit SET actor = 'rare' WHERE id - id / {apart} * {apart} = 1")
    more = "name = 'rare', region_name = 'RARE', is_schedule_active = true, schedule_mode = 'R/PT1H'"
    run(f'UPDATE jobs SET {more}, labels = \'{{"team": "rare"}}\' WHERE id - id / {apart} * {apart} = 1')
    team = f"CASE WHEN id - id / {apart} * {apart} = 1 THEN 'team=rare' ELSE 'team=bench' END"
    run(f"INSERT INTO job_labels (label, job_id, namespace) SELECT {team}, id, namespace FROM jobs")
