"""The tables as peewee models. No rules: each noun's module is the sole writer of its tables."""

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
    fn,
)

from jobd.store.db.columns import InstantField, Table


class Installation(Table):
    """One row, which identifies this database. Containers carry its id."""

    id = CharField(primary_key=True, max_length=36)
    created_at = InstantField()
    secret_key = CharField(null=True, max_length=16)
    """Id of the key that new values are sealed with."""


class User(Table):
    id = BigAutoField()
    username = CharField(unique=True)
    password_hash = CharField(null=True)
    is_admin = BooleanField(default=False)
    is_active = BooleanField(default=True)
    created_at = InstantField()

    class Meta:
        table_name = "users"


class Namespace(Table):
    name = CharField(primary_key=True)
    created_at = InstantField()

    class Meta:
        table_name = "namespaces"


class Organization(Table):
    """A namespace that has members."""

    name = CharField(primary_key=True)
    created_by = CharField()
    created_at = InstantField()

    class Meta:
        table_name = "organizations"


class Member(Table):
    organization = CharField()
    user_id = BigIntegerField(index=True)
    role = CharField(max_length=16)
    created_at = InstantField()

    class Meta:
        table_name = "members"
        primary_key = CompositeKey("organization", "user_id")


class Token(Table):
    """`namespace`: the only one that the token is valid for; None for all that its user may use. `made_by`: the token
    that it was created with; None if its user created it with a password or at the command line.
    """

    id = BigAutoField()
    user_id = BigIntegerField(index=True)
    name = CharField()
    prefix = CharField(unique=True, max_length=16)
    digest = CharField(max_length=64)
    created_at = InstantField()
    namespace = CharField(null=True)
    access = CharField(max_length=8, default="write")
    expires_at = InstantField(null=True)
    last_used_at = InstantField(null=True)
    made_by = BigIntegerField(null=True)
    is_sign_in = BooleanField(default=False)

    class Meta:
        table_name = "tokens"


class Job(Table):
    id = BigAutoField()
    namespace = CharField()
    name = CharField()
    created_by = CharField()
    created_at = InstantField()
    updated_at = InstantField()
    deleted_at = InstantField(null=True)

    command = TextField(null=True)
    docker_image_repo = CharField()
    docker_image_tag = CharField()
    resource_size = CharField()
    region_name = CharField()
    runtime_vars = JSONField()
    secret_vars = JSONField(default=dict)
    pull_policy = CharField()
    labels = JSONField()
    mounts = JSONField(default=list)
    timeout = IntegerField(null=True)
    max_retries = IntegerField()
    retry_delay = IntegerField()
    retry_on = JSONField(null=True)
    execs_kept = IntegerField(null=True)

    is_schedule_active = BooleanField()
    schedule_mode = CharField(null=True)
    schedule_timezone = CharField(null=True)
    schedule_anchor = InstantField(null=True)
    schedule_error = TextField(null=True)
    missed_run_policy = CharField()
    starting_deadline = IntegerField(null=True)
    concurrency_policy = CharField()
    next_fire_at = InstantField(null=True)
    decided_until = InstantField(null=True)

    email_enabled = BooleanField(default=False)
    email_recipients = JSONField(default=list)

    class Meta:
        table_name = "jobs"


class JobLabel(Table):
    """`NAME=VALUE` of a job that is not deleted; lists look for it here."""

    label = CharField(max_length=511)
    job_id = BigIntegerField(index=True)
    namespace = CharField()

    class Meta:
        table_name = "job_labels"
        primary_key = CompositeKey("label", "job_id", "namespace")


class Exec(Table):
    """`seq` is the order in which execs were queued; `id` is what the API shows."""

    seq = BigAutoField()
    id = CharField(unique=True, max_length=36)
    job_id = BigIntegerField()
    namespace = CharField()
    region_name = CharField()
    status = CharField(max_length=1)
    trigger_mode = CharField(max_length=1)
    created_by = CharField()
    created_at = InstantField()
    started_at = InstantField(null=True)
    ended_at = InstantField(null=True)
    deleted_at = InstantField(null=True)

    command = TextField(null=True)
    docker_image_repo = CharField()
    docker_image_tag = CharField()
    resource_size = CharField()
    runtime_vars = JSONField()
    secret_vars = JSONField(default=dict)
    pull_policy = CharField()
    labels = JSONField()
    mounts = JSONField(default=list)
    timeout = IntegerField(null=True)
    max_retries = IntegerField()
    retry_delay = IntegerField()
    retry_on = JSONField(null=True)

    attempt = IntegerField(default=1)
    retry_of = CharField(null=True, max_length=36)
    scheduled_for = InstantField(null=True)
    missed_count = BigIntegerField(null=True)
    missed_from = InstantField(null=True)
    missed_to = InstantField(null=True)
    not_before = InstantField(null=True)
    start_before = InstantField(null=True)

    exit_code = IntegerField(null=True)
    reason = CharField(null=True)
    message = TextField(null=True)
    image_digest = CharField(null=True)
    log_bytes = BigIntegerField(default=0)
    log_is_cut = BooleanField(default=False)
    log_may_lack_output = BooleanField(default=False)
    stop_requested_at = InstantField(null=True)
    stop_requested_by = CharField(null=True)
    stop_reason = CharField(null=True)
    timed_out_at = InstantField(null=True)

    owner = CharField(null=True, max_length=36)
    term = IntegerField(default=0)
    handle = CharField(null=True)
    holds_slot = BooleanField(default=False)
    replaces = BooleanField(default=False)
    pulled = BooleanField(default=False)

    class Meta:
        table_name = "execs"


class ExecLog(Table):
    """Output of an ended exec, as `jobd.output.run_log` frames; a table of its own so that lists of
    execs stay narrow.
    """

    exec_seq = BigIntegerField(primary_key=True)
    frames = BlobField()

    class Meta:
        table_name = "exec_logs"


class Secret(Table):
    """A sealed value of a job; with `exec_seq`, the value that an exec's container was started with; with `hook_id`,
    that of a webhook, and `job_id` is 0. What stands in `secret_vars` is each name with a random id, which is new each
    time the value is set: it tells that the value changed, and nothing about it. The same is true of a webhook's
    `secret`.
    """

    id = BigAutoField()
    job_id = BigIntegerField()
    exec_seq = BigIntegerField(null=True)
    hook_id = BigIntegerField(null=True)
    name = CharField()
    key_id = CharField(max_length=16)
    sealed = BlobField()

    class Meta:
        table_name = "secrets"


class IdempotencyKey(Table):
    """Lets a client repeat a trigger: who sent which key for which job, and which exec it created."""

    username = CharField()
    job_id = BigIntegerField()
    key = CharField()
    digest = CharField(max_length=64)
    exec_id = CharField(max_length=36)
    created_at = InstantField(index=True)

    class Meta:
        table_name = "idempotency_keys"
        primary_key = CompositeKey("username", "job_id", "key")


class Hook(Table):
    """A webhook: notified over HTTP about the execs of `job_id`, or without one about all of `namespace`."""

    id = BigAutoField()
    namespace = CharField()
    job_id = BigIntegerField(null=True)
    name = CharField(null=True)
    url = TextField()
    events = JSONField()
    secret = TextField(null=True)
    is_active = BooleanField(default=True)
    created_by = CharField()
    created_at = InstantField()
    updated_at = InstantField()

    class Meta:
        table_name = "hooks"


class Delivery(Table):
    """The outbox: one event on its way to one webhook, or as a mail (`hook_id` is 0 then). `next_at` is when it is to
    be sent, None when that is over; `message_id` is how the receiver recognizes it.
    """

    id = BigAutoField()
    message_id = CharField(max_length=36)
    hook_id = BigIntegerField()
    namespace = CharField()
    job_id = BigIntegerField()
    exec_id = CharField(max_length=36)
    event = CharField()
    event_at = InstantField()
    body = TextField()
    status = CharField(default="pending")
    attempts = IntegerField(default=0)
    next_at = InstantField(null=True)
    term = IntegerField(default=0)
    claimed_by = CharField(null=True, max_length=36)
    created_at = InstantField(index=True)

    class Meta:
        table_name = "deliveries"


class DeliveryAttempt(Table):
    """`duration` is in milliseconds; `status_code` is None for a mail, and if there was no answer."""

    id = BigAutoField()
    delivery_id = BigIntegerField(index=True)
    at = InstantField()
    duration = IntegerField()
    status_code = IntegerField(null=True)
    error = TextField(null=True)
    answer = TextField(null=True)

    class Meta:
        table_name = "delivery_attempts"


class Audit(Table):
    """Who changed what; rows are never changed, and deleted when they are old."""

    id = BigAutoField()
    at = InstantField()
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
        table_name = "audit"


class Daemon(Table):
    """`term` counts the starts of one daemon. `seen_at`, `steady_at` (in microseconds): both clocks at its last
    heartbeat.
    """

    id = CharField(primary_key=True, max_length=36)
    term = IntegerField()
    host = CharField()
    pid = IntegerField()
    regions = JSONField()
    started_at = InstantField()
    heartbeat_at = InstantField(null=True)
    seen_at = InstantField(null=True)
    boot_id = CharField(null=True, max_length=36)
    steady_at = BigIntegerField(null=True)

    class Meta:
        table_name = "daemons"


class Region(Table):
    """What is known about a region across all daemons; the row is also the lock under which
    `max_running` is counted.
    """

    name = CharField(primary_key=True)
    engine_identity = CharField(null=True)

    class Meta:
        table_name = "regions"


Namespace.add_index(fn.lower(Namespace.name), unique=True, name="namespaces_by_case")
Token.add_index(Token.made_by, where=SQL("made_by IS NOT NULL"), name="tokens_by_maker")
Job.add_index(Job.namespace, Job.id, where=SQL("deleted_at IS NULL"), name="jobs_by_namespace")
Job.add_index(Job.next_fire_at, where=SQL("next_fire_at IS NOT NULL"), name="jobs_due")
Job.add_index(Job.name, Job.id, Job.namespace, where=SQL("deleted_at IS NULL"), name="jobs_by_name")
Job.add_index(Job.region_name, Job.id, Job.namespace, where=SQL("deleted_at IS NULL"), name="jobs_by_region")
Job.add_index(Job.is_schedule_active, Job.id, Job.namespace, where=SQL("deleted_at IS NULL"), name="jobs_by_switch")
Exec.add_index(Exec.status, Exec.seq, Exec.namespace, Exec.deleted_at, name="execs_by_status")
Exec.add_index(Exec.region_name, Exec.seq, Exec.namespace, Exec.deleted_at, name="execs_by_region")
Exec.add_index(Exec.job_id, Exec.seq, Exec.deleted_at, name="execs_by_job")
Exec.add_index(Exec.namespace, Exec.seq, Exec.deleted_at, name="execs_by_namespace")
Exec.add_index(
    Exec.job_id, Exec.scheduled_for, unique=True, where=SQL("trigger_mode = 'S' AND status <> 'N'"), name="execs_slot"
)
Exec.add_index(
    Exec.region_name, Exec.namespace, Exec.seq, where=SQL("status = 'W' AND owner IS NULL"), name="execs_waiting"
)
Exec.add_index(Exec.namespace, where=SQL("status = 'W' AND owner IS NULL"), name="execs_room")
Exec.add_index(Exec.region_name, Exec.owner, where=SQL("status IN ('W', 'R')"), name="execs_live")
Exec.add_index(Exec.ended_at, where=SQL("ended_at IS NOT NULL"), name="execs_ended")
Hook.add_index(Hook.job_id, where=SQL("job_id IS NOT NULL"), name="hooks_by_job")
Hook.add_index(Hook.namespace, where=SQL("job_id IS NULL"), name="hooks_by_namespace")
Delivery.add_index(Delivery.hook_id, Delivery.id, name="deliveries_by_hook")
Delivery.add_index(Delivery.hook_id, Delivery.next_at, where=SQL("next_at IS NOT NULL"), name="deliveries_by_lane")
Delivery.add_index(Delivery.next_at, where=SQL("next_at IS NOT NULL"), name="deliveries_due")
Secret.add_index(
    Secret.job_id, Secret.name, unique=True, where=SQL("exec_seq IS NULL AND hook_id IS NULL"), name="secrets_of_job"
)
Secret.add_index(Secret.hook_id, unique=True, where=SQL("hook_id IS NOT NULL"), name="secrets_of_hook")
Secret.add_index(Secret.exec_seq, Secret.name, unique=True, where=SQL("exec_seq IS NOT NULL"), name="secrets_of_exec")
Secret.add_index(Secret.key_id, name="secrets_by_key")
Audit.add_index(Audit.namespace, Audit.id, name="audit_by_namespace")
Audit.add_index(Audit.actor, Audit.id, name="audit_by_actor")

ALL: tuple[type[Table], ...] = tuple(Table.__subclasses__())
