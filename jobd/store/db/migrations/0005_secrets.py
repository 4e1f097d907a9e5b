"""Encrypted variables: which a job has, and their values in a table of their own."""

from typing import Any

from peewee import SQL, BigAutoField, BigIntegerField, BlobField, CharField, SqliteDatabase


def up(migrator: Any, db: Any) -> None:
    class Secret(db.Model):
        id = BigAutoField()
        job_id = BigIntegerField()
        exec_seq = BigIntegerField(null=True)
        name = CharField()
        key_id = CharField(max_length=16)
        sealed = BlobField()

        class Meta:
            legacy_table_names = False
            table_name = "secrets"

    Secret.add_index(Secret.job_id, Secret.name, unique=True, where=SQL("exec_seq IS NULL"), name="secrets_of_job")
    Secret.add_index(
        Secret.exec_seq, Secret.name, unique=True, where=SQL("exec_seq IS NOT NULL"), name="secrets_of_exec"
    )
    Secret.add_index(Secret.key_id, name="secrets_by_key")
    db.create_tables([Secret], safe=False)
    json = "TEXT" if isinstance(db, SqliteDatabase) else "JSONB"
    for table in ("jobs", "execs"):
        db.execute_sql(f"ALTER TABLE {table} ADD COLUMN secret_vars {json} NOT NULL DEFAULT '{{}}'")
    db.execute_sql("ALTER TABLE installation ADD COLUMN secret_key VARCHAR(16)")
