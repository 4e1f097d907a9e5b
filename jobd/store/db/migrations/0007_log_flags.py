"""Of an exec's log, whether some of it was left out, and whether some may be missing."""

from typing import Any


def up(migrator: Any, db: Any) -> None:
    for name in ("log_is_cut", "log_may_lack_output"):
        db.execute_sql(f"ALTER TABLE execs ADD COLUMN {name} BOOLEAN NOT NULL DEFAULT false")
