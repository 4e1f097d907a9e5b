"""`jobd` that logs all that any library has to say, HTTP and SQL too."""

import logging
from typing import Any

from jobd import daemon_log
from jobd.cli.main import main

_configure = daemon_log.configure


def _chatty(*args: Any, **more: Any) -> None:
    _configure(*args, **more)
    for name in ("", *daemon_log.OWN):
        logging.getLogger(name).setLevel(logging.DEBUG)


if __name__ == "__main__":
    daemon_log.configure = _chatty
    main()
