"""`jobd` that logs all that any library has to say."""

import logging
from typing import Any

from jobd.cli.main import main

_configure = logging.basicConfig


def _chatty(**more: Any) -> None:
    _configure(**{**more, "level": logging.DEBUG})


if __name__ == "__main__":
    logging.basicConfig = _chatty
    main()
