"""The version of a database, and what has to be done to databases of earlier versions of jobflow-remote.

jobflow-remote and jfr-mp share one layout, and thus its version numbers. The upgrades are rows of `UPGRADES`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import distributions
from importlib.metadata import version as installed_version
from typing import TYPE_CHECKING, Any

from packaging.version import InvalidVersion, Version

from jfr_mp.database.setup import LAYOUT_VERSION
from jfr_mp.errors import InvalidQuery
from jfr_mp.states import BatchState

if TYPE_CHECKING:
    from pymongo.client_session import ClientSession

    from jfr_mp.database.connection import Doc, QueueDatabase

_RECORD = {"jobflow_remote_version": {"$exists": True}}

#: The version of a database that does not state one.
_OLDEST = Version("0.1.0")


@dataclass(frozen=True)
class UpgradeAction:
    """One change of an upgrade.

    Parameters
    ----------
    description
        What it does.
    collection
        ``jobs``, ``flows``, ``auxiliary`` or ``batches``; NO_COLLECTION for a change of files on the workers.
    action_type
        ``update``, ``delete``, or a text.
    details
        The filter, the update and whether to upsert.
    required
        Whether the database cannot be used without it.
    """

    description: str
    collection: str
    action_type: str
    details: Mapping[str, Any]
    required: bool = True


@dataclass(frozen=True)
class UpgradeCondition:
    """What an upgrade requires.

    Parameters
    ----------
    description
        The condition.
    count
        Returns the number of things that violate it.
    advice
        What to do about them.
    skippable
        Whether the upgrade may be forced although the condition is violated.
    """

    description: str
    count: Callable[[QueueDatabase], int]
    advice: str
    skippable: bool = False


@dataclass(frozen=True)
class Upgrade:
    """Everything that brings a database to one version."""

    actions: Sequence[UpgradeAction]
    conditions: Sequence[UpgradeCondition] = ()


#: An action that renames directories of batch workers; it is not done here.
NO_COLLECTION = "NO_COLLECTION"


def _update(description: str, collection: str, query: Doc, changes: Doc, *, upsert: bool = False) -> UpgradeAction:
    details = {"filter": query, "update": {"$set": changes}, "upsert": upsert}
    return UpgradeAction(description, collection, "update", details)


def _old_batches(db: QueueDatabase) -> int:
    """Return the number of batches in the auxiliary collection, where they were before version 1.0."""
    document = db.auxiliary.find_one({"batch_processes": {"$exists": True}}) or {}
    return sum(len(of_worker) for of_worker in (document.get("batch_processes") or {}).values())


def _active_batches(db: QueueDatabase) -> int:
    states = [BatchState.SUBMITTED.value, BatchState.RUNNING.value]
    return db.batches.count_documents({"batch_state": {"$in": states}})


#: The upgrades by the version that they lead to, in order.
UPGRADES: Mapping[Version, Upgrade] = {
    Version("0.1.5"): Upgrade(
        [
            _update(
                "Create the record of the running runner",
                "auxiliary",
                {"running_runner": {"$exists": True}},
                {"running_runner": None},
                upsert=True,
            )
        ]
    ),
    Version("1.0"): Upgrade(
        [
            _update(
                "Rename the state TERMINATED to RUN_FINISHED",
                "jobs",
                {"state": "TERMINATED"},
                {"state": "RUN_FINISHED"},
            ),
            _update(
                "Rename the previous state TERMINATED to RUN_FINISHED",
                "jobs",
                {"previous_state": "TERMINATED"},
                {"previous_state": "RUN_FINISHED"},
            ),
            UpgradeAction(
                "Remove the record of batches from the auxiliary collection",
                "auxiliary",
                "delete",
                {"filter": {"batch_processes": {"$exists": True}}},
            ),
            UpgradeAction(
                "Rename the directory terminated of batch workers to run_finished", NO_COLLECTION, "rename", {}
            ),
        ],
        [
            UpgradeCondition(
                "no batch is recorded in the auxiliary collection",
                _old_batches,
                "let these batches end with the version of jobflow-remote that submitted them",
                skippable=True,
            ),
            UpgradeCondition(
                "no batch is submitted or running", _active_batches, "wait for them, or delete them (`batch delete`)"
            ),
        ],
    ),
}


@dataclass(frozen=True)
class UpgradePlan:
    """What an upgrade would do.

    Parameters
    ----------
    present, target
        The versions before and after.
    upgrades
        The upgrades to perform, by version; empty if the database is not older than the target.
    violated
        The conditions that prevent it, each with a sentence about it.
    """

    present: Version
    target: Version
    upgrades: Mapping[Version, Upgrade] = field(default_factory=dict)
    violated: Sequence[tuple[Version, UpgradeCondition, str]] = ()

    @property
    def is_due(self) -> bool:
        """Whether the database is older than the target."""
        return self.present < self.target

    @property
    def actions(self) -> list[UpgradeAction]:
        """All changes, the version number included."""
        if not self.is_due:
            return []
        return [
            *(action for upgrade in self.upgrades.values() for action in upgrade.actions),
            _version_action(self.target),
        ]


def plan(
    db: QueueDatabase, present: str | None = None, target: str | None = None, *, force: bool = False
) -> UpgradePlan:
    """Return what is needed to upgrade a database.

    Parameters
    ----------
    present, target
        The versions; None for the one that the database states, and for the one that jfr-mp uses.
    force
        Whether to ignore violated conditions that are skippable.

    Raises
    ------
    InvalidQuery
        A version is not valid.
    """
    start = parsed(present) if present else current_version(db)
    end = parsed(target or LAYOUT_VERSION)
    due = {number: upgrade for number, upgrade in UPGRADES.items() if start < number <= end}
    violated = [
        (number, condition, f"{found} found; {condition.advice}")
        for number, upgrade in due.items()
        for condition in upgrade.conditions
        if not (force and condition.skippable) and (found := condition.count(db))
    ]
    return UpgradePlan(start, end, due, violated)


def perform(db: QueueDatabase, planned: UpgradePlan) -> None:
    """Perform the changes of the database; each version is one transaction if the server supports them."""
    for number, upgrade in planned.upgrades.items():

        def body(session: ClientSession | None, number: Version = number, upgrade: Upgrade = upgrade) -> None:
            for action in (*upgrade.actions, _version_action(number)):
                _perform(db, action, session)

        db.transaction(body)
    update_version_information(db, planned.target)


def _perform(db: QueueDatabase, action: UpgradeAction, session: ClientSession | None) -> None:
    if action.collection == NO_COLLECTION:
        return
    collection = getattr(db, action.collection)
    if action.action_type == "delete":
        collection.delete_many(action.details["filter"], session=session)
    else:
        details = action.details
        collection.update_many(details["filter"], details["update"], upsert=details["upsert"], session=session)


def _version_action(number: Version) -> UpgradeAction:
    changes = {"jobflow_remote_version": str(number)}
    return _update(f"Set the version of the database to {number}", "auxiliary", dict(_RECORD), changes, upsert=True)


def parsed(number: str) -> Version:
    """Return a version, or raise `InvalidQuery`."""
    try:
        return Version(number)
    except InvalidVersion as error:
        raise InvalidQuery(f"{number!r} is not a version; write it as 1.0.1") from error


def current_version(db: QueueDatabase) -> Version:
    """Return the version that a database states; 0.1.0 if it states none."""
    record = db.auxiliary.find_one(_RECORD)
    return parsed(record["jobflow_remote_version"]) if record else _OLDEST


def update_version_information(db: QueueDatabase, number: Version | str | None = None) -> None:
    """Store a version of the layout, and the versions of jobflow and of all packages of this environment.

    Parameters
    ----------
    number
        The version of the layout; None for the one that jfr-mp uses.
    """
    known = {
        "jobflow_remote_version": str(number or LAYOUT_VERSION),
        "jobflow_version": installed_version("jobflow"),
        "full_environment": _environment(),
    }
    db.auxiliary.update_one(_RECORD, {"$set": known}, upsert=True)


def jobflow_difference(db: QueueDatabase) -> str:
    """Return how the installed jobflow differs from the one that the database states; empty if it does not."""
    record = db.auxiliary.find_one(_RECORD)
    if record is None:
        return "the database does not state a version of jobflow; it was initialised before version 0.1.5"
    before, now = record["jobflow_version"], installed_version("jobflow")
    return "" if before == now else f"the database was used with jobflow {before}, and jobflow {now} is installed"


def environment_difference(db: QueueDatabase) -> str:
    """Return which packages that the database states are missing or have another version now, one per line.

    Empty if there is no difference. Packages that were added are no difference.
    """
    record = db.auxiliary.find_one(_RECORD)
    if record is None:
        return "the database does not state the versions of packages; it was initialised before version 0.1.5"
    now = _environment()
    lines = [
        f"{name} {before} -> {now.get(name, 'not installed')}"
        for name, before in sorted(record["full_environment"].items())
        if now.get(name) != before
    ]
    return "\n".join(["these packages differ from those with which the database was used:", *lines]) if lines else ""


def _environment() -> dict[str, str]:
    return {each.metadata["Name"]: each.version for each in distributions()}
