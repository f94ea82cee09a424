"""The program that delivers messages to one target: it ends when nothing is due.

It is a process of its own, so that a server that hangs can be given up, whatever the library waits for. What has become
of a message is written at once, so that it is sent again only if this process is killed in between.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import signal
import threading
from typing import TYPE_CHECKING, NoReturn

from jfr_mp.config import ConfigManager
from jfr_mp.database.connection import QueueDatabase
from jfr_mp.database.notifications import Outbox
from jfr_mp.errors import ConfigError, DeliveryFailed, JfrMpError
from jfr_mp.notify.targets import send

if TYPE_CHECKING:
    from jfr_mp.config.notifications import NotifyOptions
    from jfr_mp.database.notifications import Delivery

#: Seconds for which a delivery stays hidden after its time, in case the clocks differ.
_MARGIN = 5.0


class _OutOfTime(BaseException):
    """The time of a delivery is over. No library takes it for one of its own errors."""


def main(arguments: list[str] | None = None) -> int:
    """Deliver what is due; print one line of JSON for each attempt."""
    parser = argparse.ArgumentParser(prog="jfr_mp.notify", description=__doc__)
    parser.add_argument("--project", required=True)
    parser.add_argument("--target", required=True)
    options = parser.parse_args(arguments)
    # A stop does not end a delivery halfway; it takes no longer than `timeout`.
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    try:
        deliver(options.project, options.target, stop)
    except JfrMpError as error:
        return error.exit_code
    return 0


def deliver(project_name: str, target: str, stop: threading.Event) -> None:
    """Deliver all messages that are due to a target, until one attempt fails or a stop is requested."""
    project = ConfigManager().get_project(project_name)
    options = project.jfr_mp.notify
    db = QueueDatabase.connect(project)
    try:
        outbox = Outbox(db)
        while not stop.is_set() and (delivery := outbox.take(target, options.timeout + _MARGIN)) is not None:
            error = _attempt(options, delivery)
            if error is None:
                outbox.sent(delivery)
                _say(delivery, "")
                continue
            again = outbox.failed(delivery, error)
            _say(delivery, error, "retrying" if again else "given up")
            return
    finally:
        db.close()


def _attempt(options: NotifyOptions, delivery: Delivery) -> str | None:
    """Try to deliver a message; return why it failed, or None."""
    if delivery.target not in options.targets:
        return f"there is no target {delivery.target} any more"
    signal.signal(signal.SIGALRM, _too_long)
    signal.setitimer(signal.ITIMER_REAL, options.timeout)
    try:
        send(delivery.target, options.targets[delivery.target], delivery.title, delivery.body, options.timeout)
    except _OutOfTime:
        return f"{delivery.target} did not accept the message within {options.timeout:g} s"
    except (ConfigError, DeliveryFailed) as error:
        return str(error)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    return None


def _too_long(*_: object) -> NoReturn:
    raise _OutOfTime


def _say(delivery: Delivery, error: str, following: str = "") -> None:
    report = {"message": delivery.message, "target": delivery.target, "title": delivery.title}
    # The master that started this process may have been killed.
    with contextlib.suppress(BrokenPipeError):
        print(json.dumps({**report, "error": error, "next": following}), flush=True)


if __name__ == "__main__":
    raise SystemExit(main())
