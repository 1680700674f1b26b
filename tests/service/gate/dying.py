"""A process that dies by SIGKILL while it does the next step of a check: `dying.py DATABASE_URL FOLDER PLACE`."""

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from adapters import aliases
from service.gate import procedure
from storage.database import Database
from tests.service.gate.conftest import BENCH, make_house

PLACES: dict[str, tuple[Any, str]] = {
    "before the runs are rows": (procedure, "insert"),
    "once it is decided": (procedure, "decide"),
    "between the move and the commit": (procedure, "end"),
    "with the move not yet written down": (aliases, "point"),
}
"""Module and function: the process dies as soon as the function has returned."""


def dying(function: Callable[..., Any]) -> Callable[..., Any]:
    def call(*arguments: Any, **options: Any) -> Any:
        function(*arguments, **options)
        os.kill(os.getpid(), signal.SIGKILL)

    return call


def main(url: str, folder: str, place: str) -> None:
    house = make_house(Database(url), Path(folder))
    [check] = house.gates.open_checks()
    if place == "after the commit":
        house.procedure.advance(check, BENCH)
        os.kill(os.getpid(), signal.SIGKILL)
    module, name = PLACES[place]
    setattr(module, name, dying(getattr(module, name)))
    house.procedure.advance(check, BENCH)


if __name__ == "__main__":
    main(*sys.argv[1:])
