"""What is done now and then, whatever happens to the wall clock."""

from tornado.ioloop import PeriodicCallback


class Periodic(PeriodicCallback):
    """Tornado's own goes by the wall clock: set back by an hour, it would be silent for an hour."""

    def _update_next(self, current_time: float) -> None:
        super()._update_next(current_time)
        self._next_timeout = min(self._next_timeout, current_time + self.callback_time / 1000)
