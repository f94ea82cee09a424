"""Telling the faults of a database apart."""

from __future__ import annotations

import pytest
from pymongo.errors import (
    AutoReconnect,
    BulkWriteError,
    DocumentTooLarge,
    DuplicateKeyError,
    OperationFailure,
    PyMongoError,
    ServerSelectionTimeoutError,
)

from jfr_mp.database.faults import TRANSIENT, explain_bad_query, is_duplicate, is_too_large, translate
from jfr_mp.errors import DatabaseRefused, DatabaseUnavailable

AWAY = (
    "127.0.0.1:1: [Errno 111] Connection refused (configured timeouts: 1ms), Timeout: 1s, Topology Description: <...>"
)


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (ServerSelectionTimeoutError(AWAY), DatabaseUnavailable),
        (AutoReconnect("connection closed"), DatabaseUnavailable),
        (OperationFailure("Authentication failed.", 18, {"ok": 0}), DatabaseRefused),
        (OperationFailure("not authorized", 13), DatabaseRefused),
        (OperationFailure("bad query", 2), None),
        (ValueError("other"), None),
    ],
)
def test_a_fault_of_the_connection_in_our_words(error: Exception, kind: type[Exception] | None) -> None:
    translated = translate(error, "h:1")
    assert type(translated) is (kind or type(None))
    if kind:
        assert "h:1" in str(translated)
        assert "Topology" not in str(translated)
    assert isinstance(error, TRANSIENT) is (kind is DatabaseUnavailable)


@pytest.mark.parametrize(
    ("error", "too_large", "duplicate"),
    [
        (DocumentTooLarge("17 MB"), True, False),
        (OperationFailure("too large", 10334), True, False),
        (BulkWriteError({"writeErrors": [{"code": 17419}]}), True, False),
        (BulkWriteError({"writeErrors": [{"code": 11000}]}), False, True),
        (DuplicateKeyError("again", 11000), False, True),
        (PyMongoError("other"), False, False),
    ],
)
def test_a_fault_of_the_document(error: Exception, too_large: bool, duplicate: bool) -> None:
    assert is_too_large(error) is too_large
    assert is_duplicate(error) is duplicate


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (OperationFailure("unknown operator: $what, full error: {'ok': 0}", 2), "unknown operator: $what"),
        (OperationFailure("not authorized", 13), None),
        (ValueError("other"), None),
    ],
)
def test_a_query_that_is_not_valid(error: Exception, text: str | None) -> None:
    explained = explain_bad_query(error)
    assert (explained and str(explained)) == (text and f"the database does not understand the query: {text}")
