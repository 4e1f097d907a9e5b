"""`jobd job`: jobs, their schedules, and running them."""

import json
import sys
from collections.abc import Iterable
from typing import IO, Any

import click

from jobd.cli import exec as execs
from jobd.cli.client import Client, Item
from jobd.cli.failure import USAGE, Failure
from jobd.cli.options import connects, prints
from jobd.cli.output import Columns, print_item, print_items, say
from jobd.cli.times import Length
from jobd.cli.watch import WORDS, name_of, wait_for_end

COLUMNS: Columns = {
    "JOB": "id",
    "NAME": "name",
    "NAMESPACE": "namespace",
    "IMAGE": lambda job: image(job["docker_image_repo"], job["docker_image_tag"]),
    "SIZE": "resource_size",
    "REGION": "region_name",
    "SCHEDULE": "schedule_mode",
    "ON": "is_schedule_active",
    "NEXT": "next_fire_at",
    "LAST": lambda job: WORDS.get((job.get("last_exec") or {}).get("status", "")),
}

job_argument = click.argument("job", metavar="JOB", type=click.IntRange(min=1))


def image(repo: str, tag: str) -> str:
    """The image as `docker` writes it: `repo:tag`, or `repo@sha256:…`."""
    return f"{repo}@{tag}" if tag.startswith("sha256:") else f"{repo}:{tag}"


def split_image(text: str) -> tuple[str, str | None]:
    """Repository and tag or digest. A colon before the last slash belongs to the registry's port."""
    repo, at, digest = text.partition("@")
    if at:
        return repo, digest
    path, colon, tag = text.rpartition(":")
    return (path, tag) if colon and "/" not in tag else (text, None)


def pairs(ctx: click.Context, param: click.Parameter, value: Iterable[str]) -> dict[str, str]:
    """Repeated `NAME=VALUE` as an object."""
    values: dict[str, str] = {}
    for text in value:
        name, equals, content = text.partition("=")
        if not equals or not name:
            raise click.BadParameter(f"{text!r} is not NAME=VALUE", ctx, param)
        values[name] = content
    return values


def retried(ctx: click.Context, param: click.Parameter, value: tuple[str, ...]) -> dict[str, list[str]]:
    """Repeated reasons as the API's object; the server checks them."""
    return {"reasons": list(value)} if value else {}


@click.group()
def job() -> None:
    """Create, change and run jobs."""


@job.command("list")
@click.option("--namespace", help="Only jobs in this namespace.")
@click.option("--name", help="Only jobs with this name.")
@click.option("--label", multiple=True, metavar="NAME=VALUE", help="Only jobs with this label. May be repeated.")
@click.option("--region", help="Only jobs in this region.")
@click.option("--scheduled/--unscheduled", default=None, help="Only jobs whose schedule is active, or is not.")
@click.option("--limit", type=click.IntRange(min=0), default=100, show_default=True, help="The newest N; 0: all.")
@prints
@connects
def list_(client: Client, output: str, limit: int, scheduled: bool | None, **filters: Any) -> None:
    """List jobs, newest first."""
    on = None if scheduled is None else str(scheduled).lower()
    rows, count = client.items("/v1/jobs", limit, scheduled=on, **filters)
    print_items(rows, output, COLUMNS, "id")
    execs.say_how_many_more(len(rows), count)


@job.command()
@job_argument
@prints
@connects
def show(client: Client, output: str, job: int) -> None:
    """Show a job with all its fields."""
    print_item(client.get(f"/v1/jobs/{job}"), output, "id")


@job.command()
@click.argument("name")
@click.option("--image", required=True, metavar="REPO[:TAG]", help="The image; `REPO@sha256:…` pins it.")
@click.option("--command", help="What to run, split as by a POSIX shell; else the image's own command.")
@click.option("--namespace", help="The owner; else your own namespace.")
@click.option("--size", "resource_size", help="Instance size; else the smallest.")
@click.option("--region", "region_name", help="Where it runs; else the server's default.")
@click.option("--env", "runtime_vars", multiple=True, metavar="NAME=VALUE", callback=pairs, help="May be repeated.")
@click.option("--label", "labels", multiple=True, metavar="NAME=VALUE", callback=pairs, help="May be repeated.")
@click.option("--schedule", "schedule_mode", metavar="TEXT", help="ISO 8601 repeating interval or cron expression.")
@click.option("--tz", "schedule_timezone", metavar="ZONE", help="The schedule's time zone, as in Asia/Shanghai.")
@click.option("--paused", is_flag=True, help="Do not activate the schedule.")
@click.option("--missed-run-policy", type=click.Choice(["skip", "run_once", "run_all"]), help="For missed slots.")
@click.option("--concurrency-policy", type=click.Choice(["allow", "forbid", "replace"]), help="For runs that overlap.")
@click.option("--starting-deadline", type=Length(), help="A slot that is later than this is not run.")
@click.option("--timeout", type=Length(), help="The longest time that it may run, as in 90s or 5m.")
@click.option("--max-retries", type=int, metavar="N", help="How often a failed run is retried.")
@click.option("--retry-delay", type=Length(), help="Delay before the first retry; doubled for each further one.")
@click.option(
    "--retry-on",
    multiple=True,
    metavar="REASON",
    callback=retried,
    help="Retry only after these failures, as in exit_code, lost. May be repeated.",
)
@click.option("--pull-policy", type=click.Choice(["always", "if_not_present", "never"]), help="When to pull the image.")
@click.option("--execs-kept", type=int, metavar="N", help="How many ended execs to keep.")
@prints
@connects
def create(client: Client, output: str, image: str, paused: bool, **fields: Any) -> None:
    """Create a job. For fields without an option use `job apply`."""
    repo, tag = split_image(image)
    body = {name: value for name, value in fields.items() if value not in (None, {})}
    body |= {"docker_image_repo": repo, "docker_image_tag": tag} if tag else {"docker_image_repo": repo}
    if "schedule_mode" in body:
        body["is_schedule_active"] = not paused
    print_items([client.post("/v1/jobs", body)], output, COLUMNS, "id")


@job.command()
@click.option("-f", "--file", type=click.File(encoding="utf-8"), required=True, help="JSON; `-` is stdin.")
@prints
@connects
def apply(client: Client, output: str, file: IO[str]) -> None:
    """Create or change the jobs in a file: one object or a list, with the API's fields.

    A job is identified by its `id`, else by `namespace` and `name`. Fields that the file leaves out stay unchanged.
    """
    applied = [_apply(client, body) for body in _described(file)]
    print_items(applied, output, COLUMNS, "id")


@job.command()
@job_argument
@click.option("--command", help="Another command, for this run only.")
@click.option("--tag", "docker_image_tag", help="Another image tag or digest, for this run only.")
@click.option("--size", "resource_size", help="Another instance size, for this run only.")
@click.option("--env", "runtime_vars", multiple=True, metavar="NAME=VALUE", callback=pairs, help="Added for this run.")
@click.option("--idempotency-key", metavar="KEY", help="The same key within 24 h returns the same exec.")
@click.option("--wait", is_flag=True, help="Wait for its end and exit with the container's code.")
@click.option("--follow", is_flag=True, help="Like --wait, with the log as it is written.")
@prints
@connects
@click.pass_context
def run(
    ctx: click.Context,
    client: Client,
    output: str,
    job: int,
    wait: bool,
    follow: bool,
    idempotency_key: str | None,
    **overrides: Any,
) -> None:
    """Run a job now.

    With --wait it prints states on stderr and the log on stdout, also of retries, and exits with the exit code of the
    last attempt's container, 1 for a failure that has none, or 130 if it was cancelled. An interrupt ends only the
    waiting, with exit code 130; the exec goes on.
    """
    body = {name: value for name, value in overrides.items() if value not in (None, {})}
    headers = {"Idempotency-Key": idempotency_key} if idempotency_key else None
    started = client.post(f"/v1/jobs/{job}/execs", body, headers)
    if wait or follow:
        ctx.exit(wait_for_end(client, started, follow))
    print_items([started], output, execs.COLUMNS, name_of)


@job.command()
@click.argument("jobs", metavar="JOB...", type=click.IntRange(min=1), nargs=-1, required=True)
@click.option("-y", "--yes", is_flag=True, help="Do not ask for confirmation; without a terminal it never asks.")
@connects
def delete(client: Client, jobs: tuple[int, ...], yes: bool) -> None:
    """Delete jobs with their execs and logs; running execs are stopped."""
    if not yes and sys.stdin.isatty():
        named = ", ".join(str(job) for job in jobs)
        click.confirm(f"Delete job {named} with all execs and logs?", abort=True, err=True)
    for job in jobs:
        client.delete(f"/v1/jobs/{job}")
        say(f"job {job} deleted")


@job.command()
@job_argument
@connects
def pause(client: Client, job: int) -> None:
    """Deactivate a job's schedule."""
    client.put(f"/v1/jobs/{job}", {"is_schedule_active": False})
    say(f"job {job} paused")


@job.command()
@job_argument
@connects
def resume(client: Client, job: int) -> None:
    """Activate a job's schedule. Slots that passed meanwhile are not run."""
    client.put(f"/v1/jobs/{job}", {"is_schedule_active": True})
    say(f"job {job} resumed")


def _described(file: IO[str]) -> list[Item]:
    try:
        # Some editors on Windows begin a file with a byte order mark.
        content = json.loads(file.read().removeprefix("\ufeff"))
    except ValueError as error:
        raise Failure(f"{file.name}: not JSON: {error}", USAGE) from None
    bodies = content if isinstance(content, list) else [content]
    if not all(isinstance(body, dict) and ("id" in body or "name" in body) for body in bodies):
        raise Failure(f"{file.name}: expected an object, or a list of them, each with a name or an id", USAGE)
    return bodies


def _apply(client: Client, body: Item) -> Item:
    known = body.get("id") or _id_by_name(client, body)
    if known is None:
        created: Item = client.post("/v1/jobs", body)
        say(f"job {created['id']} created")
        return created
    changed: Item = client.put(f"/v1/jobs/{known}", body)
    say(f"job {known} applied")
    return changed


def _id_by_name(client: Client, body: Item) -> int | None:
    namespace = body.get("namespace") or client.get("/v1/auth/profile")["username"]
    jobs, _ = client.items("/v1/jobs", 0, name=body["name"], namespace=namespace)
    ids = sorted(job["id"] for job in jobs if job["name"] == body["name"])
    if len(ids) > 1:
        named = ", ".join(map(str, ids))
        raise Failure(f"{body['name']!r} is the name of several jobs, {named}; put the id of one into the file")
    return ids[0] if ids else None
