"""Organizations and their members, tokens that may less than their users, and who changed what."""

from typing import Any

from peewee import BigAutoField, BigIntegerField, CharField, CompositeKey, JSONField


def up(migrator: Any, db: Any) -> None:
    class Organization(db.Model):
        name = CharField(primary_key=True)
        created_by = CharField()
        created_at = BigIntegerField()

        class Meta:
            legacy_table_names = False
            table_name = "organizations"

    class Member(db.Model):
        organization = CharField()
        user_id = BigIntegerField(index=True)
        role = CharField(max_length=16)
        created_at = BigIntegerField()

        class Meta:
            legacy_table_names = False
            table_name = "members"
            primary_key = CompositeKey("organization", "user_id")

    class Audit(db.Model):
        id = BigAutoField()
        at = BigIntegerField()
        namespace = CharField()
        actor = CharField()
        token_id = BigIntegerField(null=True)
        address = CharField()
        request_id = CharField()
        action = CharField()
        subject = CharField()
        before = JSONField(null=True)
        after = JSONField(null=True)

        class Meta:
            legacy_table_names = False
            table_name = "audit"

    Audit.add_index(Audit.namespace, Audit.id, name="audit_by_namespace")
    Audit.add_index(Audit.actor, Audit.id, name="audit_by_actor")
    db.create_tables([Organization, Member, Audit], safe=False)
    for column in (
        "namespace VARCHAR(255)",
        "access VARCHAR(8) NOT NULL DEFAULT 'write'",
        "expires_at BIGINT",
        "last_used_at BIGINT",
    ):
        db.execute_sql(f"ALTER TABLE tokens ADD COLUMN {column}")
