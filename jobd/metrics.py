"""What is measured, for Prometheus: one registry for each daemon, and nothing global.

Names follow Prometheus' advice (base units, `_total`, `_seconds`, `_timestamp_seconds`) and resemble those of
kube-state-metrics. No label may grow with what users create: never a job, an exec, a user or a namespace.
docs/observability.md names each metric; a test compares.
"""

import platform
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

import prometheus_client
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric

import jobd
from jobd.statuses import ExecStatus, Trigger

STATUS_WORDS: Mapping[str, str] = {status: status.name.lower() for status in ExecStatus}
TRIGGER_WORDS: Mapping[str, str] = {trigger: trigger.name.lower() for trigger in Trigger}

QUICK = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
LATE = (0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 3600.0)
START = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0, 21600.0)
RUN = (0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0, 14400.0, 43200.0, 86400.0)
"""Upper bounds of buckets, in seconds."""

# Otherwise each counter and histogram has a second series with its creation time, which doubles what Prometheus has to
# store.
prometheus_client.disable_created_metrics()


@dataclass(frozen=True)
class Census:
    """What the database holds now, whichever daemon wrote it. Instants are Unix times in seconds."""

    execs: Mapping[tuple[str, str], int] = field(default_factory=dict)
    """The number of execs by (region, `waiting` or `running`)."""
    oldest_ready: Mapping[str, float] = field(default_factory=dict)
    """By region, when the exec that has waited longest there became ready."""
    next_slot: float | None = None
    """When the next slot of any job is due; in the past if it is overdue."""
    daemons: int = 0
    deliveries_waiting: int | None = None
    """None if it is not known."""


class Metrics:
    """The metrics of one daemon. Safe to use from any thread; a call takes one or two microseconds."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry(auto_describe=False)
        prometheus_client.ProcessCollector(registry=self.registry)
        prometheus_client.GCCollector(registry=self.registry)
        self._add_execs()
        self._add_schedules()
        self._add_clocks()
        self._add_regions()
        self._add_daemon()
        self._add_http()
        self.registry.register(_CensusCollector(self))
        self.census: Census | None = None
        """None while nobody has asked for it, and if the database did not answer."""

    def _add_execs(self) -> None:
        self.execs_created = self._counter(
            "jobd_execs_created", "Execs that came to wait, by what made them.", "region", "trigger"
        )
        self.execs_ended = self._counter(
            "jobd_execs_ended", "Execs that ended, by how and why.", "region", "status", "reason"
        )
        self.start_delay = self._histogram(
            "jobd_exec_start_delay_seconds", "From being ready to run until running.", START, "region"
        )
        self.run_duration = self._histogram(
            "jobd_exec_run_duration_seconds", "From running until ended.", RUN, "region", "status"
        )
        self.log_bytes = self._counter("jobd_log_stored_bytes", "Output of ended execs that was stored.", "region")
        self.delivery_attempts = self._counter(
            "jobd_delivery_attempts", "Attempts to deliver a webhook or a mail.", "channel", "result"
        )
        self.delivery_duration = self._histogram(
            "jobd_delivery_duration_seconds", "How long an attempt to deliver took.", (*QUICK, 30.0), "channel"
        )
        self.deliveries_given_up = self._counter(
            "jobd_deliveries_given_up", "Deliveries that are tried no more.", "channel"
        )

    def _add_schedules(self) -> None:
        self.slots = self._counter("jobd_schedule_slots", "Slots that came due, by what became of them.", "outcome")
        self._fired = self.slots.labels("fired")
        for outcome in ("missed", "overlap", "ahead"):
            self.slots.labels(outcome)
        self.lateness = self._histogram(
            "jobd_schedule_lateness_seconds", "From a slot's time until its exec waited.", LATE
        )
        self.schedule_errors = self._counter("jobd_schedule_errors", "Schedules that raised, and stopped by it.")
        self.scan_errors = self._counter("jobd_scheduler_scan_errors", "Looks for due slots that failed.")
        self.last_tick = self._gauge(
            "jobd_scheduler_last_tick_timestamp_seconds", "When the scheduler last looked for due slots and succeeded."
        )

    def _add_clocks(self) -> None:
        self.clock_jumps = self._counter(
            "jobd_clock_jumps", "Times that the clock by which things come due was set.", "direction"
        )
        for direction in ("ahead", "back"):
            self.clock_jumps.labels(direction)
        self.clock_offset = self._gauge(
            "jobd_clock_offset_seconds", "By how much this machine's clock is ahead of the database's."
        )
        self.scheduler_held = self._gauge(
            "jobd_scheduler_held", "Whether no slot fires, since the clock is not believed."
        )
        self.schedules_rearmed = self._counter(
            "jobd_schedules_rearmed", "Schedules that were armed anew after a clock that was ahead."
        )

    def _add_regions(self) -> None:
        self.region_up = self._gauge("jobd_region_up", "Whether the region can be used from this daemon.", "region")
        self.region_last_check = self._gauge(
            "jobd_region_last_check_timestamp_seconds", "When the region's executor last answered.", "region"
        )
        self.region_max_running = self._gauge(
            "jobd_region_max_running", "Execs that may run in the region at once, over all daemons.", "region"
        )
        self.region_outages = self._counter(
            "jobd_region_outages", "Times that the region went away from this daemon.", "region"
        )
        self.execs_adopted = self._counter(
            "jobd_execs_adopted", "Live execs taken over from another daemon or an earlier start.", "region"
        )
        self.leases_lost = self._counter("jobd_leases_lost", "Times that this daemon's lease ran out.")
        self.lease_held = self._gauge("jobd_lease_held", "Whether this daemon's lease holds.")
        self.execs_owned = self._gauge("jobd_execs_owned", "Live execs that this daemon is at work on or watches.")

    def _add_daemon(self) -> None:
        build = self._gauge("jobd_build_info", "1, with what is running.", "version", "python_version")
        build.labels(jobd.__version__, platform.python_version()).set(1)
        self.database_duration = self._histogram(
            "jobd_database_operation_duration_seconds", "How long a call to the database took.", QUICK, "kind"
        )
        self.database_errors = self._counter(
            "jobd_database_errors", "Calls to the database that failed because of it.", "kind"
        )
        self.loop_lag = self._histogram(
            "jobd_event_loop_lag_seconds", "By how much the event loop was late for what it had to do.", QUICK
        )
        for kind in ("read", "write"):
            self.database_duration.labels(kind)
            self.database_errors.labels(kind)

    def _add_http(self) -> None:
        self.http_requests = self._counter(
            "jobd_http_requests", "Requests that were answered.", "route", "method", "code"
        )
        self.http_duration = self._histogram(
            "jobd_http_request_duration_seconds",
            "How long an answer took; not of logs that were followed.",
            QUICK,
            "route",
        )
        self.http_in_progress = self._gauge("jobd_http_requests_in_progress", "Requests under way.")
        self._add_connections()

    def _add_connections(self) -> None:
        self.http_connections = self._gauge("jobd_http_connections", "Open connections of clients.", "caller")
        self.http_connections_max = self._gauge(
            "jobd_http_connections_max", "Open connections that there may be of clients."
        )
        self.http_connections_closed = self._counter(
            "jobd_http_connections_closed", "Connections that this daemon closed on its clients.", "reason"
        )
        for reason in ("idle", "evicted"):
            self.http_connections_closed.labels(reason)
        self.http_accept_pauses = self._counter(
            "jobd_http_accept_pauses", "Times that no connection was accepted for a moment for want of room."
        )

    def created(self, region: str, trigger_mode: str, count: int = 1) -> None:
        """Count execs that were queued."""
        self.execs_created.labels(region, TRIGGER_WORDS[trigger_mode]).inc(count)

    def started(self, region: str, delay: float) -> None:
        """Record that an exec runs, `delay` seconds after it became ready."""
        self.start_delay.labels(region).observe(max(delay, 0.0))

    def ended(self, region: str, status: str, reason: str | None, ran: float | None, log_bytes: int = 0) -> None:
        """Record that an exec has ended after it `ran` for so many seconds, None if it never ran."""
        word = STATUS_WORDS[status]
        self.execs_ended.labels(region, word, reason or "").inc()
        if ran is not None:
            self.run_duration.labels(region, word).observe(max(ran, 0.0))
        if log_bytes:
            self.log_bytes.labels(region).inc(log_bytes)

    def fired(self, lateness: Iterable[float]) -> None:
        """Record slots that became execs, each with the seconds by which it was late."""
        for seconds in lateness:
            self._fired.inc()
            self.lateness.observe(max(seconds, 0.0))

    def serves(self, region: str, max_running: int, is_up: Callable[[], bool], last_check: Callable[[], float]) -> None:
        """Add a region that this daemon serves; `is_up` and `last_check` are called whenever metrics are read."""
        self.region_max_running.labels(region).set(max_running)
        self.region_up.labels(region).set_function(lambda: float(is_up()))
        self.region_last_check.labels(region).set_function(last_check)
        for counter in (self.region_outages, self.execs_adopted):
            counter.labels(region)

    def has_connections(self, capacity: int, count: Callable[[], int], count_anonymous: Callable[[], int]) -> None:
        """Set the maximum number of connections; the current numbers are asked for whenever metrics are read."""
        self.http_connections_max.set(capacity)
        self.http_connections.labels("known").set_function(lambda: float(count() - count_anonymous()))
        self.http_connections.labels("unknown").set_function(lambda: float(count_anonymous()))

    def delivered(self, channel: str, result: str, seconds: float) -> None:
        """Record an attempt to deliver, in seconds. `channel` is `webhook` or `mail`, `result` is `success` or
        `failure`.
        """
        self.delivery_attempts.labels(channel, result).inc()
        self.delivery_duration.labels(channel).observe(seconds)

    def gave_up(self, channel: str) -> None:
        """Count a delivery that is not tried any more."""
        self.deliveries_given_up.labels(channel).inc()

    def _counter(self, name: str, help: str, *labels: str) -> Counter:
        return Counter(name, help, labels, registry=self.registry)

    def _gauge(self, name: str, help: str, *labels: str) -> Gauge:
        return Gauge(name, help, labels, registry=self.registry)

    def _histogram(self, name: str, help: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
        return Histogram(name, help, labels, registry=self.registry, buckets=buckets)


class _CensusCollector:
    """The metrics of the whole database; while it does not answer there are no samples, rather than old ones."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def collect(self) -> Iterable[Metric]:
        census = self._metrics.census
        known = census or Census()
        up = GaugeMetricFamily("jobd_database_up", "Whether the database answered when it was last asked.")
        up.add_metric([], float(census is not None))
        execs = GaugeMetricFamily("jobd_execs", "Live execs in the database.", labels=["region", "status"])
        for labels, count in known.execs.items():
            execs.add_metric(labels, count)
        oldest = GaugeMetricFamily(
            "jobd_exec_oldest_ready_timestamp_seconds",
            "When the exec that has waited longest became ready to run.",
            labels=["region"],
        )
        for region, since in known.oldest_ready.items():
            oldest.add_metric([region], since)
        next_slot = GaugeMetricFamily(
            "jobd_schedule_next_slot_timestamp_seconds", "When the next slot of any job comes due."
        )
        daemons = GaugeMetricFamily("jobd_daemons", "Daemons whose heartbeat is fresh.")
        waiting = GaugeMetricFamily("jobd_deliveries_waiting", "Webhooks and mails that are still to be delivered.")
        if known.next_slot is not None:
            next_slot.add_metric([], known.next_slot)
        if census is not None:
            daemons.add_metric([], census.daemons)
        if known.deliveries_waiting is not None:
            waiting.add_metric([], known.deliveries_waiting)
        return [up, execs, oldest, next_slot, daemons, waiting]
