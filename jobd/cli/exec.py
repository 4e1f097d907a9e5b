"""`jobd exec`: runs of jobs. An exec is given as JOB/EXEC, as lists print it."""

import re
from contextlib import suppress
from typing import Any
from urllib.parse import quote

import click

from jobd.cli.client import Client, Item
from jobd.cli.failure import TryLater
from jobd.cli.options import connects, prints
from jobd.cli.output import Columns, elapsed, print_item, print_items, say
from jobd.cli.times import Instant
from jobd.cli.watch import WORDS, await_end, follow_log, name_of, print_log, wait_for_end
from jobd.statuses import Trigger

TRIGGERS = {trigger: trigger.name.lower() for trigger in Trigger}
COLUMNS: Columns = {
    "EXEC": name_of,
    "STATUS": lambda row: WORDS.get(row["status"], row["status"]),
    "TRIGGER": lambda row: TRIGGERS.get(row["trigger_mode"], row["trigger_mode"]),
    "CREATED": "created_at",
    "DURATION": lambda row: elapsed(row["started_at"], row["ended_at"]),
    "CODE": "exit_code",
    "REASON": lambda row: row["reason"] or row["message"],
}
STATUSES = {word.replace(" ", "-"): status for status, word in WORDS.items()}


class ExecPath(click.ParamType):
    """Converts JOB/EXEC to the exec's URL path."""

    name = "JOB/EXEC"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        match = re.fullmatch(r"(\d{1,18})/([^/]+)", value, re.ASCII)
        if not match:
            self.fail(f"{value!r} is not an exec; expected JOB/EXEC, as `jobd exec list` prints it", param, ctx)
        return f"/v1/jobs/{match[1]}/execs/{quote(match[2], safe='')}"


exec_argument = click.argument("exec", metavar="JOB/EXEC", type=ExecPath())


@click.group("exec")
def exec_() -> None:
    """Show, stop and repeat runs of jobs."""


@exec_.command("list")
@click.option("--job", type=click.IntRange(min=1), metavar="JOB", help="Only execs of this job.")
@click.option("--namespace", help="Only execs in this namespace.")
@click.option("--status", type=click.Choice(list(STATUSES)), help="Only execs in this status.")
@click.option("--region", help="Only execs in this region.")
@click.option("--since", type=Instant(), help="Created at this time or later: 2026-11-27, yesterday, 1h (ago).")
@click.option("--until", type=Instant(), help="Created before this time.")
@click.option("--limit", type=click.IntRange(min=0), default=100, show_default=True, help="The newest N; 0: all.")
@prints
@connects
def list_(client: Client, output: str, limit: int, status: str | None, **filters: Any) -> None:
    """List execs, newest first."""
    rows, count = client.items("/v1/execs", limit, status=status and STATUSES[status], **filters)
    print_items(rows, output, COLUMNS, name_of)
    say_how_many_more(len(rows), count)


@exec_.command()
@exec_argument
@prints
@connects
def show(client: Client, output: str, exec: str) -> None:
    """Show an exec with all its fields."""
    row = client.get(exec)
    if output == "table":
        row["status"] = WORDS.get(row["status"], row["status"])
        row["trigger_mode"] = TRIGGERS.get(row["trigger_mode"], row["trigger_mode"])
    print_item(row, output, name_of)


@exec_.command()
@exec_argument
@click.option("-f", "--follow", is_flag=True, help="Print it as it is written, until the exec ends.")
@click.option("--tail", type=click.IntRange(min=0), metavar="N", help="Only the last N lines.")
@click.option("--stream", type=click.Choice(["stdout", "stderr"]), help="Only this stream.")
@click.option("--timestamps", is_flag=True, help="Begin each line with its time.")
@connects
def logs(client: Client, exec: str, follow: bool, tail: int | None, stream: str | None, timestamps: bool) -> None:
    """Print what the exec wrote, both streams together, byte for byte."""
    if follow:
        # Fail at once if the server cannot be reached or there is no such exec.
        client.get(exec)
        follow_log(client, exec, tail, stream, timestamps)
    else:
        print_log(client, exec, tail=tail, stream=stream, timestamps=1 if timestamps else None)
    # The log has been printed: it is no failure if the server cannot be reached now.
    with suppress(TryLater):
        say_what_is_missing(client.get(exec))


@exec_.command()
@exec_argument
@click.option("--force", is_flag=True, help="End the exec even if its region cannot be reached.")
@click.option("--wait", is_flag=True, help="Return when it has ended.")
@connects
def stop(client: Client, exec: str, force: bool, wait: bool) -> None:
    """Stop a waiting or running exec. Without --wait the command returns before the exec has ended."""
    client.post(f"{exec}/stop", force=1 if force else None)
    say("stop requested")
    if wait:
        await_end(client, exec)


@exec_.command()
@exec_argument
@click.option("--wait", is_flag=True, help="Wait for its end and exit with the container's code.")
@click.option("--follow", is_flag=True, help="Like --wait, with the log as it is written.")
@prints
@connects
@click.pass_context
def rerun(ctx: click.Context, client: Client, output: str, exec: str, wait: bool, follow: bool) -> None:
    """Run an exec again, with the same image, command and variables."""
    started = client.post(f"{exec}/rerun")
    if wait or follow:
        ctx.exit(wait_for_end(client, started, follow))
    print_items([started], output, COLUMNS, name_of)


def say_what_is_missing(exec: Item) -> None:
    """Say on stderr if a log is incomplete."""
    if exec.get("log_is_cut"):
        say(f"the log lacks the middle of the {exec['log_bytes']} bytes that were written")
    if exec.get("log_may_lack_output"):
        say(exec["message"] or "the log may lack output")


def say_how_many_more(shown: int, count: int) -> None:
    """Say on stderr that a list has more items than shown."""
    if shown < count:
        say(f"{shown} of {count}; --limit 0 shows all")
