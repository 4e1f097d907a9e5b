"""How many rows there are up to an id, and when those of a thousand ids were made: `jobd.store.tallies` fills them."""

from typing import Any


def up(migrator: Any, db: Any) -> None:
    db.execute_sql(
        "CREATE TABLE tallies (subject VARCHAR(16) NOT NULL, name VARCHAR(255) NOT NULL, number BIGINT NOT NULL, "
        "PRIMARY KEY (subject, name))"
    )
    db.execute_sql("CREATE TABLE tallied (source VARCHAR(16) NOT NULL PRIMARY KEY, up_to BIGINT NOT NULL)")
    db.execute_sql("INSERT INTO tallied (source, up_to) VALUES ('jobs', 0), ('execs', 0), ('audit', 0)")
    db.execute_sql(
        "CREATE TABLE spans (source VARCHAR(16) NOT NULL, block BIGINT NOT NULL, least BIGINT NOT NULL, "
        "most BIGINT NOT NULL, PRIMARY KEY (source, block))"
    )
