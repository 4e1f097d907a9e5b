"""How much waits in a namespace is counted at every trigger and every slot."""

from typing import Any


def up(migrator: Any, db: Any) -> None:
    db.execute_sql("CREATE INDEX execs_room ON execs (namespace) WHERE status = 'W' AND owner IS NULL")
