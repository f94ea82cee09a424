"""Jobs that look around in the process that runs them: what they find must not depend on how it was started."""

from __future__ import annotations

import atexit
import ctypes
import locale
import multiprocessing
import os
import random
import resource
import signal
import subprocess
import sys
import threading
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from jobflow import job

from jfr_mp.execution import CURRENT_JOBDOC


@job
def looks_around() -> dict[str, Any]:
    """Return all that a process can see of itself, but for what differs between any two."""
    child = subprocess.run(
        ["/bin/sh", "-c", "umask; ulimit -a; pwd; echo $WORD; ls /proc/self/fd"],
        capture_output=True,
        text=True,
        check=True,
    )
    with multiprocessing.get_context("fork").Pool(1) as pool:
        squares = pool.map(abs, [-1, 2])
    return {
        "environment": {key: value for key, value in os.environ.items() if key not in ("SHLVL", "_")},
        "cwd": str(Path.cwd()),
        "umask": oct(_umask()),
        "limits": {name: str(resource.getrlimit(getattr(resource, name))) for name in _limits()},
        "ignored": [number for number in range(1, 65) if _disposition(number) is signal.SIG_IGN],
        "handled": [number for number in range(1, 65) if callable(_disposition(number))],
        "blocked": sorted(map(int, signal.pthread_sigmask(signal.SIG_BLOCK, ()))),
        "nice": os.nice(0),
        "affinity": sorted(os.sched_getaffinity(0)),
        "ids": [os.getresuid(), os.getresgid(), sorted(os.getgroups())],
        "stdin": sys.stdin.read(),
        "streams": [(s.encoding, s.errors, s.line_buffering, s.isatty()) for s in (sys.stdin, sys.stdout, sys.stderr)],
        "flags": repr(sys.flags),
        "path": sys.path,
        "executable": sys.executable,
        "main": [sys.modules["__main__"].__name__, sys.argv[1:2]],
        "time zone": [time.tzname, time.strftime("%H", time.gmtime(0)), time.strftime("%H", time.localtime(0))],
        "locale": [locale.setlocale(locale.LC_ALL), locale.getpreferredencoding(), sys.getfilesystemencoding()],
        "warnings": len(warnings.filters),
        "threads": threading.active_count(),
        "mxcsr": np.geterr(),
        "blas threads": _blas_threads(),
        "child": child.stdout,
        "multiprocessing": squares,
        "trace": [sys.gettrace(), threading.gettrace()],
        "switch interval": sys.getswitchinterval(),
        "recursion limit": sys.getrecursionlimit(),
        "job": [CURRENT_JOBDOC.job_doc.db_id, CURRENT_JOBDOC.job_doc.job.name],
    }


@job
def uses_clients() -> dict[str, Any]:
    """Use what maggma needs in some stores only, by maggma and directly, and a module that others have imported."""
    from importlib import import_module

    from maggma.stores import MemoryStore, S3Store

    modules: list[Any] = [import_module(f"maggma.stores.{name}") for name in ("aws", "mongolike", "ssh_tunnel")]
    aws, _, ssh_tunnel = modules
    memory: Any = MemoryStore()
    memory.connect()
    memory.update([{"key": 1}], key="key")
    s3: Any = S3Store(memory, "bucket", s3_profile={"region_name": "x"})
    caught = ""
    try:
        raise aws.botocore.exceptions.ClientError({}, "test")
    except aws.ClientError as error:
        caught = str(error)
    found: list[Any] = [import_module(name) for name in ("boto3", "paramiko", "urllib", "xml", "multiprocessing")]
    boto3, paramiko, urllib, xml, multiprocessing = found
    return {
        "stored": memory.count(),
        "s3": s3._get_session().region_name,  # noqa: SLF001
        "caught": caught,
        "same": [aws.boto3 is boto3, aws.Session is boto3.session.Session],
        "key": [ssh_tunnel.paramiko.PKey is paramiko.PKey, ssh_tunnel.paramiko is paramiko],
        "by their packages": [
            urllib.request.__name__,
            xml.etree.ElementTree.__name__,
            multiprocessing.pool.__name__,
        ],
        "deferred": [
            name for module in modules for name, value in vars(module).items() if type(value).__name__ == "StandIn"
        ],
    }


@job
def draws() -> list[Any]:
    """Return random numbers of every generator that is there when a job starts."""
    return [random.random(), float(np.random.rand()), os.urandom(8).hex(), os.getpid()]


@job
def leaves_traces(ledger: str) -> str:
    """Change whatever belongs to the process, write on every stream, and leave an exit function and a thread."""
    os.environ["LEFT"] = "behind"
    os.umask(0)
    os.chdir("/")
    sys.path.insert(0, "/left")
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    random.seed(1)
    warnings.simplefilter("ignore")
    print("on stdout", flush=True)
    print("on stderr", file=sys.stderr)
    os.write(1, b"unbuffered\n")
    print("buffered")
    atexit.register(lambda: Path(ledger).write_text(f"{Path(ledger).read_text()}exit function\n"))

    def late() -> None:
        time.sleep(0.2)
        Path(ledger).write_text("thread\n")

    threading.Thread(target=late).start()
    return "done"


@job
def ends(how: str) -> None:
    """End this process in some way."""
    match how:
        case "os._exit":
            os._exit(7)
        case "sys.exit":
            sys.exit(5)
        case "a text":
            sys.exit("a text")
        case "raise":
            raise RuntimeError("broken")
        case "keyboard":
            raise KeyboardInterrupt
        case "segfault":
            ctypes.string_at(0)
        case "abort":
            os.abort()
        case "memory":
            resource.setrlimit(resource.RLIMIT_AS, (2**31, resource.getrlimit(resource.RLIMIT_AS)[1]))
            np.ones(2**33)
        case name:
            os.kill(os.getpid(), getattr(signal, name))


@job
def waits(ready: str) -> None:
    """Say that it is there, with a child beside it, and wait."""
    child = subprocess.Popen(["sleep", "300"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    Path(f"{ready}.tmp").write_text(f"{os.getpid()} {child.pid}")
    Path(f"{ready}.tmp").rename(ready)
    child.wait()


@job
def forgets_a_child(ready: str) -> str:
    """Leave a process behind that goes on."""
    child = subprocess.Popen(["sleep", "300"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    Path(ready).write_text(str(child.pid))
    return "done"


def _umask() -> int:
    umask = os.umask(0)
    os.umask(umask)
    return umask


def _limits() -> list[str]:
    return sorted(name for name in dir(resource) if name.startswith("RLIMIT_"))


def _disposition(number: int) -> Any:
    try:
        return signal.getsignal(number)
    except ValueError:
        return None


def _blas_threads() -> list[int]:
    """Return how many threads the libraries for linear algebra use: after work for them, and as the kernel sees it.

    A thread that has ended may be seen a little longer; those of the libraries stay.
    """
    size = 300
    np.linalg.norm(np.ones((size, size)) @ np.ones((size, size)))
    counts = []
    for _ in range(20):
        counts.append(len(list(Path("/proc/self/task").iterdir())))
        time.sleep(0.005)
    return [min(counts)]
