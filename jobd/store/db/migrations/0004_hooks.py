"""Webhooks, mails, and the outbox of both."""

from typing import Any

from peewee import SQL, BigAutoField, BigIntegerField, BooleanField, CharField, IntegerField, JSONField, TextField


def up(migrator: Any, db: Any) -> None:
    class Hook(db.Model):
        id = BigAutoField()
        namespace = CharField()
        job_id = BigIntegerField(null=True)
        name = CharField(null=True)
        url = TextField()
        events = JSONField()
        secret = TextField(null=True)
        is_active = BooleanField()
        created_by = CharField()
        created_at = BigIntegerField()
        updated_at = BigIntegerField()

        class Meta:
            legacy_table_names = False
            table_name = "hooks"

    class Delivery(db.Model):
        id = BigAutoField()
        message_id = CharField(max_length=36)
        hook_id = BigIntegerField()
        namespace = CharField()
        job_id = BigIntegerField()
        exec_id = CharField(max_length=36)
        event = CharField()
        event_at = BigIntegerField()
        body = TextField()
        status = CharField()
        attempts = IntegerField()
        next_at = BigIntegerField(null=True)
        term = IntegerField()
        claimed_by = CharField(null=True, max_length=36)
        created_at = BigIntegerField(index=True)

        class Meta:
            legacy_table_names = False
            table_name = "deliveries"

    class DeliveryAttempt(db.Model):
        id = BigAutoField()
        delivery_id = BigIntegerField(index=True)
        at = BigIntegerField()
        duration = IntegerField()
        status_code = IntegerField(null=True)
        error = TextField(null=True)
        answer = TextField(null=True)

        class Meta:
            legacy_table_names = False
            table_name = "delivery_attempts"

    Hook.add_index(Hook.job_id, where=SQL("job_id IS NOT NULL"), name="hooks_by_job")
    Hook.add_index(Hook.namespace, where=SQL("job_id IS NULL"), name="hooks_by_namespace")
    Delivery.add_index(Delivery.hook_id, Delivery.id, name="deliveries_by_hook")
    Delivery.add_index(Delivery.hook_id, Delivery.next_at, where=SQL("next_at IS NOT NULL"), name="deliveries_by_lane")
    Delivery.add_index(Delivery.next_at, where=SQL("next_at IS NOT NULL"), name="deliveries_due")
    db.create_tables([Hook, Delivery, DeliveryAttempt], safe=False)

    json = "JSONB" if db.for_update else "TEXT"
    db.execute_sql("ALTER TABLE jobs ADD COLUMN email_enabled BOOLEAN NOT NULL DEFAULT FALSE")
    db.execute_sql(f"ALTER TABLE jobs ADD COLUMN email_recipients {json} NOT NULL DEFAULT '[]'")
