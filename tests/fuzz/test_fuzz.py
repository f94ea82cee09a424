"""No bytes from outside crash, hang or bloat what reads them: the files of the corpus, and mutations of them.

Some seconds by default; `JFR_MP_FUZZ_MINUTES` gives the minutes for which to go on, with new examples each time. A file
that was a fault once belongs into ``corpus/TARGET/``.
"""

from __future__ import annotations

import os
import resource
import shutil
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.fuzz.targets import TARGETS

pytestmark = pytest.mark.timeout(0)

CORPUS = Path(__file__).parent / "corpus"
MINUTES = float(os.environ.get("JFR_MP_FUZZ_MINUTES", "0"))
EXAMPLES = 60
#: Seconds of CPU time and of waiting that one input may take, and kilobytes by which the memory may grow.
SLOWEST, LONGEST, LARGEST = 20.0, 120.0, 400_000
#: Pieces that have a meaning somewhere.
TOKENS = [
    *(
        b"\x00",
        b"\xff\xfe",
        b"\n",
        b"\r",
        b"\x1b[2J",
        b"..",
        b"/",
        b"../../x",
        b"~",
        b"%",
        b"%h",
        b"${HOME}",
        b"\\",
        b"'",
    ),
    *(
        b'"',
        b"{",
        b"}",
        b"[",
        b"]",
        b"[" * 2000,
        b'{"a":' * 2000,
        b"null",
        b"true",
        b"NaN",
        b"Infinity",
        b"-1",
        b"1e999",
    ),
    *(
        b"9" * 5000,
        b"!!python/object/apply:os.system [id]",
        b"&a [*a]",
        b"<<: *a",
        b"@class",
        b"@module",
        b"$oid",
        b"@",
    ),
    *(
        b"\xe2\x80\xae",
        b"\xed\xa0\x80",
        b"2026-13-45",
        b"0001-01-01T00:00:00+23:59",
        b"||",
        b"Include *",
        b"Match exec x",
    ),
]


def _corpus(target: str) -> list[bytes]:
    return [path.read_bytes() for path in sorted((CORPUS / target).iterdir())]


@st.composite
def _mutations(draw: st.DrawFn, seeds: list[bytes]) -> bytes:
    """Return a file of the corpus in which some places were changed."""
    data = draw(st.sampled_from(seeds))
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(data)))
        end = min(len(data), start + draw(st.integers(0, 12)))
        match draw(st.sampled_from(["token", "bytes", "cut", "repeat", "splice"])):
            case "token":
                new = draw(st.sampled_from(TOKENS))
            case "bytes":
                new = draw(st.binary(max_size=8))
            case "cut":
                new = b""
            case "repeat":
                new = data[start:end] * draw(st.integers(2, 50))
            case _:
                new = draw(st.sampled_from(seeds))
        data = data[:start] + new + data[end:]
    return data


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("name", TARGETS)
def test_anything_is_read_or_refused(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    if server := TARGETS[name].server:
        monkeypatch.setenv(server, request.getfixturevalue("mongod_replica").uri)
    target, seeds, inputs = TARGETS[name], _corpus(name), 0
    refusals: list[str] = []
    monkeypatch.setenv("HOME", str(tmp_path))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    def read(data: bytes) -> None:
        nonlocal inputs
        inputs += 1
        directory = tmp_path / "input"
        shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir()
        begun, worked = time.monotonic(), time.process_time()
        try:
            target.read(data, directory)
        except target.refuses as error:
            refusals.append(str(error))
        assert time.process_time() - worked < SLOWEST
        assert time.monotonic() - begun < LONGEST

    for seed in seeds:
        read(seed)

    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        # In CI the same examples each time.
        derandomize=not MINUTES,
        phases=(Phase.generate, Phase.shrink),
        suppress_health_check=list(HealthCheck),
    )
    @given(st.one_of(_mutations(seeds), _mutations(seeds), st.binary(max_size=300)))
    def fuzz(data: bytes) -> None:
        read(data)

    deadline = time.monotonic() + MINUTES * 60 / len(TARGETS)
    fuzz()
    while time.monotonic() < deadline:
        fuzz()
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    print(f"{name}: {inputs} inputs, {len(refusals)} refused, memory grown by {grown / 1024:.0f} MB")
    assert all(refusals)
    assert grown < LARGEST
