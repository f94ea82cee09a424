"""Ending a master: by asking it, and by killing it where that does not help."""

from __future__ import annotations

import logging
import os
import signal
import time

import psutil

from jfr_mp.bus.client import MasterClient
from jfr_mp.bus.paths import MasterFile, RunDir
from jfr_mp.errors import BusError

logger = logging.getLogger(__name__)

#: Seconds between two looks whether a process has ended.
_LOOK_EVERY = 0.05
#: Seconds in which a master that was told to kill its role processes has ended.
_KILLED_WITHIN = 15.0


def ask_to_stop(run_dir: RunDir, master: MasterFile) -> None:
    """Ask over the bus; a master that cannot be reached there, as it may be about to end, gets a signal."""
    try:
        with MasterClient(run_dir) as client:
            client.stop()
    except BusError as error:
        logger.debug("%s", error)
        _signal(master, signal.SIGTERM)


def end(run_dir: RunDir, master: MasterFile) -> None:
    """Let a master kill its role processes and end; where it does not, kill all of them."""
    family = _children(master.pid)
    try:
        with MasterClient(run_dir, timeout=2.0) as client:
            client.stop(drain=False)
    except BusError as error:
        logger.debug("%s", error)
    else:
        if wait_for_end(master, _KILLED_WITHIN):
            return
    _signal(master, signal.SIGKILL)
    for process in family:
        # psutil makes sure that the pid has not been given to another process.
        try:
            process.kill()
        except psutil.NoSuchProcess:
            continue
    psutil.wait_procs(family, timeout=5.0)


def _children(pid: int) -> list[psutil.Process]:
    try:
        return psutil.Process(pid).children()
    except psutil.NoSuchProcess:
        return []


def _signal(master: MasterFile, number: signal.Signals) -> None:
    if master.alive:
        try:
            os.kill(master.pid, number)
        except ProcessLookupError:
            return


def wait_for_end(master: MasterFile, timeout: float) -> bool:
    """Tell whether a master has ended within `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while master.alive:
        if time.monotonic() > deadline:
            return False
        time.sleep(_LOOK_EVERY)
    return True
