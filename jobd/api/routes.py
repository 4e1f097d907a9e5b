"""The one table of URLs. Every one works with and without a slash at its end."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

from tornado.web import Application

from jobd.api import access, accounts, execs, hooks, jobs, logs, metrics, schedules, system
from jobd.api.base import Handler, NoSuchPath, Services

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
    measuring = {"services": services, "census": metrics.Census(services)}
    return [
        *plain,
        (r"/v1/generate-api-token/?", accounts.GenerateApiToken, signing_in),
        (r"/metrics/?", metrics.Exposition, measuring),
    ]


def application(services: Services) -> Application:
    """The API, to be served by an HTTPServer whose `max_body_size` is out of the way: handlers bound bodies."""
    table = routes(services)
    measured = services.database.metrics
    measured.http_in_progress.set_function(lambda: float(len(services.requests)))
    return Application(
        table,
        default_handler_class=NoSuchPath,
        default_handler_args={"services": services},
        log_function=access.observer(table, measured),
    )
