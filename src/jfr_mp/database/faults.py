"""Classifying the errors of MongoDB: wait and repeat, inform the user, or reject the document."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from pydantic import ValidationError
from pymongo.errors import (
    BulkWriteError,
    ConfigurationError,
    ConnectionFailure,
    DocumentTooLarge,
    ExecutionTimeout,
    OperationFailure,
    WriteConcernError,
)

from jfr_mp.errors import DatabaseError, DatabaseRefused, DatabaseUnavailable, InvalidQuery, JfrMpError

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

#: Errors after which the whole step can be repeated: they do not indicate a problem with the job. After an error of the
#: write concern, the write may stay or be undone, for instance because a primary has stepped down.
TRANSIENT: tuple[type[Exception], ...] = (ConnectionFailure, ExecutionTimeout, WriteConcernError, DatabaseUnavailable)

#: AuthenticationFailed, Unauthorized, AtlasError (the answer of Atlas to wrong credentials).
_REFUSED = (18, 13, 8000)

#: BadValue, FailedToParse, and the number for a wrong regular expression.
_NOT_UNDERSTOOD = (2, 9, 51091)

#: BSONObjectTooLarge and the numbers that older code paths of the server use for the same thing.
_TOO_LARGE = (10334, 17260, 17280, 17419, 17420)

_DUPLICATE = 11000

#: TransactionTooLargeForCache, and TransactionTooLarge of older servers.
_LARGE_TRANSACTION = (388, 257)

#: How many fields of a damaged document are named, and characters of a field or a reason.
_MOST_FIELDS, _LONGEST = 5, 200

#: The models of documents, by the titles of their errors.
_DOCUMENTS = frozenset({"BatchDoc", "FlowDoc", "FlowInfo", "JobDoc", "JobInfo", "ProcessRecord"})


def translate(error: Exception, address: str) -> JfrMpError | None:
    """Return an error for the user that explains why the database at `address` could not be used.

    Returns
    -------
    JfrMpError or None
        The error, whose message never contains a password; None if the connection is not the cause.
    """
    if isinstance(error, ConnectionFailure):
        return DatabaseUnavailable(
            f"the database at {address} does not answer ({_first_clause(error)}); start it, or correct host and port "
            "in queue.store of the project file"
        )
    if isinstance(error, OperationFailure) and error.code in _REFUSED:
        return DatabaseRefused(
            f"the database at {address} refused the connection ({_first_clause(error)}); check username, password and "
            "auth_source in queue.store of the project file"
        )
    if isinstance(error, ConfigurationError):
        return DatabaseRefused(
            f"the database at {address} cannot be used as configured ({_first_clause(error)}); correct queue.store of "
            "the project file"
        )
    return None


def explain_bad_query(error: Exception) -> InvalidQuery | None:
    """Return an error that says what is wrong with a query of the user; None for any other error."""
    if isinstance(error, OperationFailure) and error.code in _NOT_UNDERSTOOD:
        return InvalidQuery(f"the database does not understand the query: {_first_clause(error)}")
    return None


def explain_damaged(error: Exception) -> DatabaseError | None:
    """Return an error that says which fields of a document cannot be read; None for any other error."""
    if isinstance(error, ValidationError) and error.title in _DOCUMENTS:
        return DatabaseError(f"a document of the queue is damaged ({fields_of(error)}); `jfr-mp admin check` names it")
    return None


def fields_of(error: ValidationError) -> str:
    """Return the names of the fields that a model refuses: the first ones if they are many."""
    return _first_of(error, ", ", _place)


def what_is_wrong(error: ValidationError) -> str:
    """Return the fields that a model refuses, each with the reason: the first ones if they are many."""
    return _first_of(error, "; ", lambda item: f"{_place(item)}: {item['msg'][:_LONGEST]}")


def _first_of(error: ValidationError, between: str, text_of: Callable[[ErrorDetails], str]) -> str:
    shown = error.errors(include_url=False, include_input=False)[:_MOST_FIELDS]
    more = error.error_count() - len(shown)
    return between.join(map(text_of, shown)) + (f"{between}and {more} more" if more else "")


def _place(item: ErrorDetails) -> str:
    return ".".join(map(str, item["loc"]))[:_LONGEST]


def is_too_large(error: Exception) -> bool:
    """Return whether a document exceeded MongoDB's limit of 16 MB."""
    return isinstance(error, DocumentTooLarge) or not _codes(error).isdisjoint(_TOO_LARGE)


def is_duplicate(error: Exception) -> bool:
    """Return whether a unique index rejected a document."""
    return _DUPLICATE in _codes(error)


def is_large_transaction(error: Exception) -> bool:
    """Return whether the writes of a transaction do not fit into the memory that the server has for them."""
    return not _codes(error).isdisjoint(_LARGE_TRANSACTION)


def _codes(error: Exception) -> set[int | None]:
    if isinstance(error, BulkWriteError):
        return {item.get("code") for item in (error.details or {}).get("writeErrors", ())}
    return {error.code} if isinstance(error, OperationFailure) else set()


def _first_clause(error: Exception) -> str:
    """Return a message of pymongo without the description of the topology at its end."""
    return str(error).partition(", full error:")[0].partition(" (configured timeouts")[0].partition(", Timeout:")[0]
