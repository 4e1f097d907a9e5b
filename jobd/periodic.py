"""Calls that are repeated at an interval, whatever happens to the wall clock."""

from tornado.ioloop import PeriodicCallback


class Periodic(PeriodicCallback):
    """Tornado's own callback goes by the wall clock: if that is set back by an hour, it stays silent for an hour."""

    def _update_next(self, current_time: float) -> None:
        super()._update_next(current_time)
        self._next_timeout = min(self._next_timeout, current_time + self.callback_time / 1000)
