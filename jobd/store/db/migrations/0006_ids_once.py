"""An id is given once: SQLite gave the highest again once its row was gone, and an old id could mean a new job."""

from typing import Any

from peewee import SqliteDatabase

TABLES = ("users", "tokens", "jobs", "hooks", "deliveries", "audit")
KEY = '"id" INTEGER NOT NULL PRIMARY KEY'


def up(migrator: Any, db: Any) -> None:
    if not isinstance(db, SqliteDatabase):
        return
    for table in TABLES:
        find = "SELECT sql FROM sqlite_master WHERE tbl_name = ? AND type = ? AND sql IS NOT NULL"
        ((schema,),) = db.execute_sql(find, (table, "table")).fetchall()
        indexes = [sql for (sql,) in db.execute_sql(find, (table, "index")).fetchall()]
        db.execute_sql(f"ALTER TABLE {table} RENAME TO {table}_before")
        for index in db.get_indexes(f"{table}_before"):
            if index.sql:
                db.execute_sql(f'DROP INDEX "{index.name}"')
        db.execute_sql(schema.replace(KEY, f"{KEY} AUTOINCREMENT"))
        db.execute_sql(f"INSERT INTO {table} SELECT * FROM {table}_before")  # noqa: S608
        db.execute_sql(f"DROP TABLE {table}_before")
        for sql in indexes:
            db.execute_sql(sql)
