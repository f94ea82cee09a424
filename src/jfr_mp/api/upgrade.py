"""Upgrading the database of an earlier version of jobflow-remote."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from jfr_mp.api.access import ProjectAccess
from jfr_mp.database import upgrade
from jfr_mp.database.setup import LAYOUT_VERSION
from jfr_mp.database.upgrade import NO_COLLECTION, UpgradeAction, UpgradePlan

if TYPE_CHECKING:
    from packaging.version import Version

logger = logging.getLogger(__name__)


def get_current_db_version(self: ProjectAccess) -> Version:
    """Return the version that the database states; 0.1.0 if it states none."""
    return upgrade.current_version(self.db)


def update_version_information(self: ProjectAccess, jobflow_remote_version: str | Version | None = None) -> None:
    """Store a version of the layout (None for the one in use) and the versions of all packages of this environment."""
    upgrade.update_version_information(self.db, jobflow_remote_version)


def upgrade_check_jobflow(self: ProjectAccess) -> str:
    """Return how the installed jobflow differs from the one that the database states; empty if it does not."""
    return upgrade.jobflow_difference(self.db)


def upgrade_full_check(self: ProjectAccess) -> str:
    """Return how the installed packages differ from the ones stated in the database; empty if they do not."""
    return upgrade.environment_difference(self.db)


class DatabaseUpgrader:
    """Upgrade a database.

    Parameters
    ----------
    job_controller
        The controller of the project.
    """

    def __init__(self, job_controller: ProjectAccess) -> None:
        self.job_controller = job_controller
        self.current_version = upgrade.parsed(LAYOUT_VERSION)

    @property
    def registered_upgrades(self) -> list[Version]:
        """The versions to which there is an upgrade."""
        return list(upgrade.UPGRADES)

    def collect_upgrades(self, from_version: Version, target_version: Version) -> list[Version]:
        """Return the versions of the upgrades that lead from one version to another."""
        return [number for number in upgrade.UPGRADES if from_version < number <= target_version]

    def check_upgrade_conditions(self, versions: list[Version], force: bool = False) -> list[tuple[Version, Any]]:
        """Return the conditions of some upgrades that are violated; `force` leaves out the skippable ones."""
        return [
            (number, {"condition": condition, "message": condition.advice})
            for number in versions
            for condition in upgrade.UPGRADES[number].conditions
            if not (force and condition.skippable) and condition.count(self.job_controller.db)
        ]

    def plan(
        self, from_version: str | None = None, target_version: str | None = None, force: bool = False
    ) -> UpgradePlan:
        """Return what `upgrade` would do; parameters as there."""
        return upgrade.plan(self.job_controller.db, from_version, target_version, force=force)

    def dry_run(
        self, from_version: str | None = None, target_version: str | None = None, force: bool = False
    ) -> tuple[list[UpgradeAction], list[tuple[Version, dict[str, Any]]]]:
        """Return the changes that `upgrade` would make, and the conditions that prevent it; parameters as there."""
        planned = self.plan(from_version, target_version, force)
        violated = [(number, {"condition": each, "message": text}) for number, each, text in planned.violated]
        return planned.actions, violated

    def upgrade(self, from_version: str | None = None, target_version: str | None = None, force: bool = False) -> bool:
        """Upgrade the database, and return whether that was due and possible; the log has the reason if it was not.

        Parameters
        ----------
        from_version, target_version
            The versions; None for the one that the database states, and for the one that jfr-mp uses.
        force
            Whether to ignore violated conditions that are skippable.
        """
        planned = self.plan(from_version, target_version, force)
        if not planned.is_due:
            logger.info("the database is at version %s; there is nothing to upgrade", planned.present)
            return False
        for number, condition, text in planned.violated:
            logger.error("the upgrade to %s requires that %s: %s", number, condition.description, text)
        if planned.violated:
            return False
        # A step that fails leaves the version as it is, so the directories come first: renaming them can be repeated.
        if any(action.collection == NO_COLLECTION for action in planned.actions):
            self._rename_directories()
        upgrade.perform(self.job_controller.db, planned)
        return True

    def _rename_directories(self) -> None:
        """Give the directories of batch workers in which ended jobs are marked their present name."""
        for name, worker in self.job_controller.project.workers.items():
            if worker.batch is None:
                continue
            host = self.job_controller.services.site(name).host
            old = worker.batch.jobs_handle_dir / "terminated"
            if host.exists(old):
                host.rename(old, worker.batch.jobs_handle_dir / "run_finished")
