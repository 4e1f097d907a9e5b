"""The table of all URLs. Each works with and without a slash at its end."""

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
"""Handlers by address, whose variable parts are in braces."""


def routes(services: Services) -> list[Route]:
    """Each address's pattern, handler and the handler's arguments. An address without rules is refused to everyone."""
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
    """The regular expression that matches an address, with a group for each part in braces."""
    return re.sub(r"\\\{\w+\\\}", "([^/]+)", re.escape(address)) + "/?"


def application(services: Services) -> Application:
    """The API, to be served by a `request_heads.Server`. Its `max_body_size` must be large enough for every request,
    since the handlers limit bodies themselves.
    """
    table = routes(services)
    metrics = services.database.metrics
    metrics.http_in_progress.set_function(lambda: float(len(services.requests)))
    return BoundedApplication(
        table,
        transforms=[Compression],
        default_handler_class=NoSuchPath,
        default_handler_args={"services": services, "rules": {}},
        log_function=access_log.observer(table, metrics),
    )
