"""Messages survive the round trip over the bus; those of another version are refused with a hint."""

from __future__ import annotations

import pytest

from jfr_mp.bus.messages import (
    BusMessage,
    CommandReply,
    CommandRequest,
    ConditionReport,
    Drain,
    Goodbye,
    MasterStatus,
    Register,
    Rejection,
    RoleStatus,
    SetLogLevel,
    StatusReply,
    StatusRequest,
    Wake,
    decode,
    encode,
    topic,
)
from jfr_mp.config import LogLevel
from jfr_mp.errors import BusError
from jfr_mp.model import Condition
from jfr_mp.states import JobState
from jfr_mp.step_table import Role

STATUS = MasterStatus(
    host="here", pid=1, state="RUNNING", roles=[RoleStatus(role=Role.QUEUE, name="queue-1", state="FATAL")]
)


@pytest.mark.parametrize(
    "message",
    [
        Register(name="transfer-1", role=Role.TRANSFER, pid=7, owner="here:7:aa"),
        ConditionReport(condition=Condition(state="STARTING", last_error="späte Antwort", outages=[])),
        Goodbye(reason="done"),
        Drain(),
        SetLogLevel(level=LogLevel.DEBUG),
        StatusRequest(),
        CommandRequest(name="stop", arguments={"drain": False}),
        StatusReply(master=STATUS),
        CommandReply(done=False, text="why"),
        Rejection(why="no"),
        Wake(state=JobState.RUN_FINISHED),
    ],
    ids=lambda message: message.kind,
)
def test_round_trip(message: BusMessage) -> None:
    assert decode(encode(message)) == message


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x80\x04pickle",
        b"[]",
        b'{"kind": "fire", "version": 2}',
        b'{"kind": "ack", "version": 1}',
        b'{"kind": "ack", "version": 2, "more": 1}',
        b'{"kind": "stop_request", "version": 2, "drain": "perhaps"}',
    ],
)
def test_malformed_messages_and_those_of_another_version_are_refused(data: bytes) -> None:
    with pytest.raises(BusError, match="jfr-mp restart"):
        decode(data)


def test_the_row_of_a_status_has_the_fields_of_the_command_line() -> None:
    # When
    row = STATUS.row()
    # Then
    assert list(row) == ["host", "pid", "state", "roles", "notices"]
    assert list(row["roles"][0]) == [
        "role",
        "name",
        "pid",
        "state",
        "uptime_s",
        "restarts",
        "rss_bytes",
        "last_error",
    ]


def test_no_topic_is_the_prefix_of_another() -> None:
    topics = [topic(state) for state in JobState]
    assert [(a, b) for a in topics for b in topics if a != b and b.startswith(a)] == []
