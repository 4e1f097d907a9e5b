"""The one table of URLs. Every one works with and without a slash at its end."""

import re
from typing import Any

from tornado.web import Application

from jobd.api import (
    accounts,
    audit,
    execs,
    jobs,
    logs,
    metrics,
    organizations,
    schedules,
    system,
    tokens,
    users,
    webhooks,
)
from jobd.api.front import Front
from jobd.api.openapi import handlers
from jobd.api.rules import RULES
from jobd.web import access_log
from jobd.web.compression import Compression
from jobd.web.handler import Handler, NoSuchPath, Services
from jobd.web.request_heads import BoundedApplication

JOB = "/v1/jobs/{id}"
EXEC = f"{JOB}/execs/{{exec_id}}"
HOOK = "/v1/hooks/{id}"
ORG = "/v1/orgs/{name}"

Route = tuple[str, type[Handler], dict[str, Any]]

TABLE: dict[str, type[Handler]] = {
    "/v1/jobs": jobs.Jobs,
    JOB: jobs.OneJob,
    f"{JOB}/schedule": schedules.JobSchedule,
    f"{JOB}/execs": execs.JobExecs,
    EXEC: execs.OneExec,
    f"{EXEC}/stop": execs.Stop,
    f"{EXEC}/rerun": execs.Rerun,
    f"{EXEC}/logs": logs.Logs,
    "/v1/execs": execs.AllExecs,
    "/v1/hooks": webhooks.Hooks,
    HOOK: webhooks.OneHook,
    f"{HOOK}/deliveries": webhooks.Deliveries,
    f"{HOOK}/deliveries/{{delivery_id}}/redeliver": webhooks.Redeliver,
    "/v1/schedule/preview": schedules.SchedulePreview,
    "/v1/regions": system.Regions,
    "/v1/sizes": system.Sizes,
    "/v1/system": system.System,
    "/v1/generate-api-token": accounts.GenerateApiToken,
    "/v1/auth/profile": accounts.Profile,
    "/v1/tokens": tokens.Tokens,
    "/v1/tokens/{token_id}": tokens.OneToken,
    "/v1/users": users.Users,
    "/v1/users/{username}": users.OneUser,
    "/v1/orgs": organizations.Organizations,
    ORG: organizations.OneOrganization,
    f"{ORG}/members": organizations.Members,
    f"{ORG}/members/{{username}}": organizations.OneMember,
    "/v1/audit": audit.AuditRecords,
    "/healthz": system.Health,
    "/readyz": system.Readiness,
    "/metrics": metrics.Exposition,
    "/openapi.json": handlers.Document,
    "/docs": handlers.Docs,
}
"""Address, with the parts that differ in braces, and handler."""


def routes(services: Services) -> list[Route]:
    """Pattern, handler, and what the handler is made with: an address that no rule names lets nobody in."""
    described = {"specification": handlers.Specification(TABLE)}
    more: dict[str, dict[str, Any]] = {
        "/metrics": {"census": metrics.Census(services)},
        "/openapi.json": described,
        "/docs": described,
    }
    table: list[Route] = [
        (pattern(address), handler, {"services": services, "rules": RULES.get(address, {}), **more.get(address, {})})
        for address, handler in TABLE.items()
    ]
    return [*table, ("/", Front, {"services": services, "rules": {}})]


def pattern(address: str) -> str:
    return re.sub(r"\\\{\w+\\\}", "([^/]+)", re.escape(address)) + "/?"


def application(services: Services) -> Application:
    """The API, to be served by a `heads.Server` whose `max_body_size` is out of the way: handlers bound bodies."""
    table = routes(services)
    measured = services.database.metrics
    measured.http_in_progress.set_function(lambda: float(len(services.requests)))
    return BoundedApplication(
        table,
        transforms=[Compression],
        default_handler_class=NoSuchPath,
        default_handler_args={"services": services, "rules": {}},
        log_function=access_log.observer(table, measured),
    )
