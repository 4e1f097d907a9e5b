"""Which token made a token, and whether one is of a sign-in."""

from typing import Any


def up(migrator: Any, db: Any) -> None:
    db.execute_sql("ALTER TABLE tokens ADD COLUMN made_by BIGINT")
    db.execute_sql("ALTER TABLE tokens ADD COLUMN is_sign_in BOOLEAN NOT NULL DEFAULT false")
    db.execute_sql("UPDATE tokens SET is_sign_in = true WHERE name = 'sign-in'")
    db.execute_sql("CREATE INDEX tokens_by_maker ON tokens (made_by) WHERE made_by IS NOT NULL")
