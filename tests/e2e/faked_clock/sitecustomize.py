"""For Python under a faked clock, by PYTHONPATH: libfaketime lets the sleep fail that `time.sleep` uses (EINVAL of
`clock_nanosleep` by the monotonic clock, seen with 0.9.10), and waits with a time-out work.
"""

import threading
import time


def sleep(seconds: float) -> None:
    threading.Event().wait(seconds)


time.sleep = sleep
