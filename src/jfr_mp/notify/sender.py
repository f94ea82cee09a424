"""The part of notifications that a master runs in a thread: watch, group, and have messages delivered."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from jfr_mp.database.connection import QueueDatabase
from jfr_mp.database.faults import TRANSIENT
from jfr_mp.database.leases import Lease
from jfr_mp.database.notifications import Outbox
from jfr_mp.errors import JfrMpError
from jfr_mp.logs import clean
from jfr_mp.notify.text import LISTED, compose
from jfr_mp.notify.watcher import Watcher

if TYPE_CHECKING:
    from jfr_mp.config import Project
    from jfr_mp.config.notifications import NotifyOptions

logger = logging.getLogger(__name__)

LEASE = "notify"
#: Seconds between two turns.
_PAUSE = 0.5
#: Seconds to wait after an error.
_PAUSE_AFTER_ERROR = 5.0
#: Seconds to wait for more notices after the first one, if the interval of the rule is not shorter.
_GATHER = 5.0
#: Seconds that the end of the thread is waited for.
_CLOSE_WITHIN = 3.0
_EXPECTED = (*TRANSIENT, JfrMpError)


class Notifier:
    """Sends the notifications of a project, unless another master of the deployment does.

    Parameters
    ----------
    project
        Returns the project as it is in effect now.
    owner
        This process, as in the registry: its lease is free as soon as it is evicted.
    """

    def __init__(self, project: Callable[[], Project], owner: str) -> None:
        self._project = project
        self._owner = owner
        self._begun = time.monotonic()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="notify", daemon=True)
        self._sending: _Sending | None = None
        self._complaint = ""

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def close(self) -> None:
        """Stop the thread; a delivery that is under way goes on and says in the database what became of it."""
        self._stop.set()
        self._thread.join(_CLOSE_WITHIN)

    def _run(self) -> None:
        pause = 0.0
        while not self._stop.wait(pause):
            pause = _PAUSE
            try:
                self._turn()
                self._complaint = ""
            except Exception as error:  # noqa: BLE001 - the top of a thread: jobs do not depend on notifications
                pause = _PAUSE_AFTER_ERROR
                self._complain(error)
        self._forget()

    def _turn(self) -> None:
        project = self._project()
        options = project.jfr_mp.notify
        if not options.rules:
            self._forget()
            return
        if self._sending is None:
            db = QueueDatabase.connect(project)
            self._sending = _Sending(db, self._owner, time.monotonic() - self._begun)
        self._sending.turn(options)

    def _complain(self, error: Exception) -> None:
        complaint = f"{type(error).__name__}: {error}"
        if complaint != self._complaint:
            unexpected = None if isinstance(error, _EXPECTED) else error
            logger.warning("notifications wait, retrying: %s", complaint, exc_info=unexpected)
        self._complaint = complaint
        if not isinstance(error, TRANSIENT):
            self._forget()

    def _forget(self) -> None:
        """Close what is open; the next turn begins with what the database says."""
        if self._sending is not None:
            sending, self._sending = self._sending, None
            sending.close()


class _Sending:
    """What is open while there are rules: the connection, the watcher, and the processes that deliver."""

    def __init__(self, db: QueueDatabase, owner: str, age: float) -> None:
        self._db = db
        self._age, self._made = age, time.monotonic()
        self._lease = Lease(db, LEASE, owner)
        self._outbox = Outbox(db)
        self._watcher: Watcher | None = None
        self._deliverers: dict[str, subprocess.Popen[str]] = {}

    def turn(self, options: NotifyOptions) -> None:
        if not self._lease.held():
            self._close_watcher()
            return
        if self._watcher is None:
            self._outbox.prepare()
            self._watcher = Watcher(self._db, self._outbox, self._age + time.monotonic() - self._made)
        self._watcher.turn(options.rules)
        self._post(options)
        self._reap()
        for target in self._outbox.targets_due():
            if target not in self._deliverers:
                self._deliverers[target] = deliverer(self._db.project.name, target)

    def close(self) -> None:
        self._close_watcher()
        self._db.close()

    def _close_watcher(self) -> None:
        if self._watcher is not None:
            self._watcher.close()
            self._watcher = None

    def _post(self, options: NotifyOptions) -> None:
        for name in self._outbox.rules_with_notices():
            rule = options.rules.get(name)
            if rule is None:
                self._outbox.drop(name)
                continue
            gather = min(_GATHER, rule.interval)
            bundle = self._outbox.bundle(name, interval=rule.interval, gather=gather, most=LISTED)
            if bundle is not None:
                title, body = compose(self._db.project.name, bundle)
                self._outbox.post(bundle, rule.to, title, body)

    def _reap(self) -> None:
        for target, process in list(self._deliverers.items()):
            if process.poll() is None:
                continue
            del self._deliverers[target]
            printed, _ = process.communicate()
            for line in printed.splitlines():
                _log(line)
            if process.returncode:
                self._outbox.release(target, f"the process that delivers ended with exit code {process.returncode}")


def deliverer(project: str, target: str) -> subprocess.Popen[str]:
    """Start a process that delivers what is due to a target, and return it."""
    argv = [sys.executable, "-P", "-m", "jfr_mp.notify", "--project", project, "--target", target]
    # A session of its own: Ctrl-C is for the master.
    return subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, start_new_session=True)


def _log(line: str) -> None:
    """Log what a process that delivers has printed; a service may print as well, and what it prints may be secret."""
    try:
        report = json.loads(line)
        message, target, title = (clean(str(report[name])) for name in ("message", "target", "title"))
        error, following = (clean(str(report[name])) for name in ("error", "next"))
    except (ValueError, TypeError, KeyError):
        return
    if error:
        logger.warning("message %s was not delivered, %s: %s", message, following, error)
    else:
        logger.info("message %s was delivered to %s: %s", message, target, title)


@contextmanager
def notifying(project: Callable[[], Project], owner: str) -> Iterator[None]:
    """Send the notifications of a project while the block runs; see `Notifier` for the parameters."""
    notifier = Notifier(project, owner)
    notifier.start()
    try:
        yield
    finally:
        notifier.close()
