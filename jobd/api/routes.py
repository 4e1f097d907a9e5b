"""The one table of URLs. Every one works with and without a slash at its end."""

import logging
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from tornado.web import Application, RequestHandler

from jobd.api import accounts, execs, hooks, jobs, logs, schedules, system
from jobd.api.base import Handler, NoSuchPath, Services

log = logging.getLogger(__name__)

JOB = r"/v1/jobs/([^/]+)"
EXEC = rf"{JOB}/execs/([^/]+)"
HOOK = r"/v1/hooks/([^/]+)"

Route = tuple[str, type[Handler], dict[str, Any]]


def routes(services: Services) -> list[Route]:
    """Pattern, handler, and what the handler is made with."""
    table: list[tuple[str, type[Handler]]] = [
        (r"/v1/jobs", jobs.Jobs),
        (JOB, jobs.OneJob),
        (rf"{JOB}/schedule", schedules.JobSchedule),
        (rf"{JOB}/execs", execs.JobExecs),
        (EXEC, execs.OneExec),
        (rf"{EXEC}/stop", execs.Stop),
        (rf"{EXEC}/rerun", execs.Rerun),
        (rf"{EXEC}/logs", logs.Logs),
        (r"/v1/execs", execs.AllExecs),
        (r"/v1/hooks", hooks.Hooks),
        (HOOK, hooks.OneHook),
        (rf"{HOOK}/deliveries", hooks.Deliveries),
        (rf"{HOOK}/deliveries/([^/]+)/redeliver", hooks.Redeliver),
        (r"/v1/schedule/preview", schedules.SchedulePreview),
        (r"/v1/regions", system.Regions),
        (r"/v1/sizes", system.Sizes),
        (r"/v1/auth/profile", accounts.Profile),
        (r"/healthz", system.Health),
        (r"/readyz", system.Readiness),
    ]
    plain: list[Route] = [(rf"{pattern}/?", handler, {"services": services}) for pattern, handler in table]
    signing_in = {"services": services, "failures": accounts.Failures(), "hashing": ThreadPoolExecutor(2)}
    return [*plain, (r"/v1/generate-api-token/?", accounts.GenerateApiToken, signing_in)]


def application(services: Services) -> Application:
    """The API, to be served by an HTTPServer whose `max_body_size` is out of the way: handlers bound bodies."""
    return Application(
        routes(services),
        default_handler_class=NoSuchPath,
        default_handler_args={"services": services},
        log_function=_log_request,
    )


def _log_request(handler: RequestHandler) -> None:
    request = handler.request
    caller = getattr(handler, "caller", None)
    log.info(
        "%s %s %d %.0f ms, %s, %s, request %s",
        request.method,
        request.path,
        handler.get_status(),
        request.request_time() * 1000,
        request.remote_ip,
        caller.username if caller else "-",
        request.headers.get("X-Request-Id", "-"),
    )
