"""`jobd` that logs all that any library has to say, HTTP and SQL too."""

import logging
from typing import Any

from jobd import journal
from jobd.cli.main import main

_configure = journal.configure


def _chatty(*args: Any, **more: Any) -> None:
    _configure(*args, **more)
    for name in ("", *journal.OWN):
        logging.getLogger(name).setLevel(logging.DEBUG)


if __name__ == "__main__":
    journal.configure = _chatty
    main()
