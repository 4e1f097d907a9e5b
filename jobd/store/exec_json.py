"""An exec's row as JSON, for the API's answers and for webhooks."""

from datetime import UTC, datetime
from typing import Any

from jobd.output.masking import MASK
from jobd.statuses import ExecStatus
from jobd.store.db.tables import Exec, Job

Shape = dict[str, Any]


def instant(at: datetime | None) -> str | None:
    """RFC 3339 in UTC, always with microseconds: `2015-12-28T14:31:07.639255+00:00`."""
    return None if at is None else at.astimezone(UTC).isoformat(timespec="microseconds")


def duration(started_at: datetime | None, ended_at: datetime | None) -> Shape | None:
    """Whole seconds, rounded down; None for an exec that has not ended or never started."""
    if started_at is None or ended_at is None:
        return None
    seconds = max(int((ended_at - started_at).total_seconds()), 0)
    return {"hours": seconds // 3600, "minutes": seconds // 60 % 60, "seconds": seconds % 60}


def hidden(row: Job | Exec) -> dict[str, str]:
    """The names of its secrets, each with a mask in place of the value."""
    return dict.fromkeys(row.secret_vars, MASK)


def shape(row: Exec, its_job: int | Shape) -> Shape:
    fields: Shape = {
        "id": row.id,
        "job": its_job,
        "status": row.status,
        "trigger_mode": row.trigger_mode,
        "attempt": row.attempt,
        "retry_of": row.retry_of,
        "scheduled_for": instant(row.scheduled_for),
        "command": row.command,
        "docker_image_repo": row.docker_image_repo,
        "docker_image_tag": row.docker_image_tag,
        "image_digest": row.image_digest,
        "resource_size": row.resource_size,
        "region_name": row.region_name,
        "runtime_vars": row.runtime_vars,
        "secret_vars": hidden(row),
        "created_by": row.created_by,
        "created_at": instant(row.created_at),
        "started_at": instant(row.started_at),
        "ended_at": instant(row.ended_at),
        "duration": duration(row.started_at, row.ended_at),
        "stop_requested_at": instant(row.stop_requested_at),
        "exit_code": row.exit_code,
        "reason": row.reason,
        "message": row.message,
        "log_bytes": row.log_bytes,
        "log_is_cut": row.log_is_cut,
        "log_may_lack_output": row.log_may_lack_output,
    }
    if row.status == ExecStatus.NOT_RUN:
        fields["missed_count"] = row.missed_count
        fields["missed_from"] = instant(row.missed_from)
        fields["missed_to"] = instant(row.missed_to)
    return fields
