"""The states of an exec, and what triggered it. The values are the letters of the API, as the database stores them."""

from enum import StrEnum


class ExecStatus(StrEnum):
    WAITING = "W"
    RUNNING = "R"
    SUCCEEDED = "S"
    FAILED = "F"
    CANCELLED = "C"
    NOT_RUN = "N"


class Trigger(StrEnum):
    MANUAL = "M"
    SCHEDULE = "S"
    RETRY = "R"


LIVE = (ExecStatus.WAITING, ExecStatus.RUNNING)
"""The states of an exec that has not ended."""
