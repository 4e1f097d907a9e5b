"""The first schema."""

import time
import uuid
from typing import Any

from peewee import (
    SQL,
    BigAutoField,
    BigIntegerField,
    BlobField,
    BooleanField,
    CharField,
    CompositeKey,
    IntegerField,
    JSONField,
    TextField,
)


def up(migrator: Any, db: Any) -> None:
    class Installation(db.Model):
        id = CharField(primary_key=True, max_length=36)
        created_at = BigIntegerField()

    class User(db.Model):
        id = BigAutoField()
        username = CharField(unique=True)
        password_hash = CharField(null=True)
        is_admin = BooleanField(default=False)
        is_active = BooleanField(default=True)
        created_at = BigIntegerField()

        class Meta:
            legacy_table_names = False
            table_name = "users"

    class Namespace(db.Model):
        name = CharField(primary_key=True)
        created_at = BigIntegerField()

        class Meta:
            legacy_table_names = False
            table_name = "namespaces"

    class Token(db.Model):
        id = BigAutoField()
        user_id = BigIntegerField(index=True)
        name = CharField()
        prefix = CharField(unique=True, max_length=16)
        digest = CharField(max_length=64)
        created_at = BigIntegerField()

        class Meta:
            legacy_table_names = False
            table_name = "tokens"

    class Job(db.Model):
        id = BigAutoField()
        namespace = CharField()
        name = CharField()
        created_by = CharField()
        created_at = BigIntegerField()
        updated_at = BigIntegerField()
        deleted_at = BigIntegerField(null=True)

        command = TextField(null=True)
        docker_image_repo = CharField()
        docker_image_tag = CharField()
        resource_size = CharField()
        region_name = CharField()
        runtime_vars = JSONField()
        pull_policy = CharField()
        labels = JSONField()
        mounts = JSONField(default=list)
        timeout = IntegerField(null=True)
        max_retries = IntegerField()
        retry_delay = IntegerField()
        execs_kept = IntegerField(null=True)

        is_schedule_active = BooleanField()
        schedule_mode = CharField(null=True)
        schedule_timezone = CharField(null=True)
        schedule_anchor = BigIntegerField(null=True)
        schedule_error = TextField(null=True)
        missed_run_policy = CharField()
        starting_deadline = IntegerField(null=True)
        concurrency_policy = CharField()
        next_fire_at = BigIntegerField(null=True)

        class Meta:
            legacy_table_names = False
            table_name = "jobs"

    class Exec(db.Model):
        seq = BigAutoField()
        id = CharField(unique=True, max_length=36)
        job_id = BigIntegerField()
        namespace = CharField()
        region_name = CharField()
        status = CharField(max_length=1)
        trigger_mode = CharField(max_length=1)
        created_by = CharField()
        created_at = BigIntegerField()
        started_at = BigIntegerField(null=True)
        ended_at = BigIntegerField(null=True)
        deleted_at = BigIntegerField(null=True)

        command = TextField(null=True)
        docker_image_repo = CharField()
        docker_image_tag = CharField()
        resource_size = CharField()
        runtime_vars = JSONField()
        pull_policy = CharField()
        labels = JSONField()
        mounts = JSONField(default=list)
        timeout = IntegerField(null=True)
        max_retries = IntegerField()
        retry_delay = IntegerField()

        attempt = IntegerField(default=1)
        retry_of = CharField(null=True, max_length=36)
        scheduled_for = BigIntegerField(null=True)
        missed_count = BigIntegerField(null=True)
        missed_from = BigIntegerField(null=True)
        missed_to = BigIntegerField(null=True)
        not_before = BigIntegerField(null=True)
        start_before = BigIntegerField(null=True)

        exit_code = IntegerField(null=True)
        reason = CharField(null=True)
        message = TextField(null=True)
        image_digest = CharField(null=True)
        log_bytes = BigIntegerField(default=0)
        stop_requested_at = BigIntegerField(null=True)
        stop_requested_by = CharField(null=True)
        stop_reason = CharField(null=True)
        timed_out_at = BigIntegerField(null=True)

        owner = CharField(null=True, max_length=36)
        term = IntegerField(default=0)
        handle = CharField(null=True)
        holds_slot = BooleanField(default=False)
        replaces = BooleanField(default=False)
        pulled = BooleanField(default=False)

        class Meta:
            legacy_table_names = False
            table_name = "execs"

    class ExecLog(db.Model):
        exec_seq = BigIntegerField(primary_key=True)
        frames = BlobField()

        class Meta:
            legacy_table_names = False
            table_name = "exec_logs"

    class IdempotencyKey(db.Model):
        username = CharField()
        job_id = BigIntegerField()
        key = CharField()
        digest = CharField(max_length=64)
        exec_id = CharField(max_length=36)
        created_at = BigIntegerField(index=True)

        class Meta:
            legacy_table_names = False
            table_name = "idempotency_keys"
            primary_key = CompositeKey("username", "job_id", "key")

    class Daemon(db.Model):
        id = CharField(primary_key=True, max_length=36)
        term = IntegerField()
        host = CharField()
        pid = IntegerField()
        regions = JSONField()
        started_at = BigIntegerField()
        heartbeat_at = BigIntegerField(null=True)

        class Meta:
            legacy_table_names = False
            table_name = "daemons"

    class Region(db.Model):
        name = CharField(primary_key=True)
        engine_identity = CharField(null=True)

        class Meta:
            legacy_table_names = False
            table_name = "regions"

    Job.add_index(Job.namespace, Job.id, where=SQL("deleted_at IS NULL"), name="jobs_by_namespace")
    Job.add_index(Job.next_fire_at, where=SQL("next_fire_at IS NOT NULL"), name="jobs_due")
    Exec.add_index(Exec.job_id, Exec.seq, name="execs_by_job")
    Exec.add_index(Exec.namespace, Exec.seq, name="execs_by_namespace")
    Exec.add_index(
        Exec.job_id,
        Exec.scheduled_for,
        unique=True,
        where=SQL("trigger_mode = 'S' AND status <> 'N'"),
        name="execs_slot",
    )
    Exec.add_index(
        Exec.region_name, Exec.namespace, Exec.seq, where=SQL("status = 'W' AND owner IS NULL"), name="execs_waiting"
    )
    Exec.add_index(Exec.region_name, Exec.owner, where=SQL("status IN ('W', 'R')"), name="execs_live")
    Exec.add_index(Exec.ended_at, where=SQL("ended_at IS NOT NULL"), name="execs_ended")

    db.create_tables(
        [Installation, User, Namespace, Token, Job, Exec, ExecLog, IdempotencyKey, Daemon, Region], safe=False
    )
    Installation.insert(id=str(uuid.uuid4()), created_at=time.time_ns() // 1000).execute()
