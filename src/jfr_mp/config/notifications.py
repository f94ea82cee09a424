"""Who is notified of what: the part of the project file under ``metadata.jfr_mp.notify``."""

from __future__ import annotations

from enum import StrEnum
from fnmatch import fnmatchcase
from typing import Annotated, Self

from pydantic import AfterValidator, Field, model_validator

from jfr_mp.config.validation import ConfigModel, invalid, listed, suggestion

Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class Occasion(StrEnum):
    """What a rule can be about."""

    FLOW_COMPLETED = "flow_completed"
    FLOW_FAILED = "flow_failed"
    JOB_FAILED = "job_failed"
    REMOTE_ERROR = "remote_error"
    HOST_DOWN = "host_down"
    LOGIN_NEEDED = "login_needed"
    ROLE_FATAL = "role_fatal"
    MASTER_LOST = "master_lost"


def _occasion(name: str) -> Occasion:
    names = [occasion.value for occasion in Occasion]
    if name not in names:
        raise ValueError(f"is not an occasion{suggestion(name, names)}; the occasions are {', '.join(names)}")
    return Occasion(name)


OccasionName = Annotated[str, AfterValidator(_occasion)]


class NotifyTarget(ConfigModel):
    """A service that receives messages: its URL as the library apprise writes it. Exactly one field is given."""

    #: The URL itself.
    url: str | None = Field(None, repr=False)
    #: The environment variable of the master that contains the URL; jobs do not get this variable.
    env: str | None = None
    #: A file whose first line is the URL.
    file: str | None = None

    @model_validator(mode="after")
    def _check_number(self) -> Self:
        if sum(value is not None for value in (self.url, self.env, self.file)) != 1:
            raise invalid({"url": "give exactly one of url, env and file"})
        return self


class NotifyRule(ConfigModel):
    """Which occasions are reported to which targets."""

    #: The occasions.
    on: list[OccasionName] = Field(min_length=1)
    #: The names of the targets.
    to: list[str] = Field(min_length=1)
    #: Only jobs and hosts of these workers; empty for all.
    workers: list[str] = Field(default_factory=list)
    #: Only flows with one of these names, and their jobs; a name may be a pattern such as "relax*". Empty for all.
    flows: list[str] = Field(default_factory=list)
    #: How long a host must have been unreachable, or have waited for a login, before it is reported.
    after: Seconds = 600.0
    #: The least time between two messages of the rule; what happens in between is reported together.
    interval: Seconds = 60.0

    def wants(self, occasion: str, flow: str | None, workers: list[str]) -> bool:
        """Return whether the rule is about something.

        Parameters
        ----------
        occasion
            What has happened.
        flow
            The name of the flow that it concerns; None if it concerns none.
        workers
            The workers that it concerns, if any.
        """
        if occasion not in self.on or (self.workers and workers and not set(self.workers) & set(workers)):
            return False
        return flow is None or not self.flows or any(fnmatchcase(flow, pattern) for pattern in self.flows)


class NotifyOptions(ConfigModel):
    """Notifications, which the masters of the project send."""

    #: The services that messages can be sent to, by a name.
    targets: dict[str, NotifyTarget] = Field(default_factory=dict)
    #: Who is told what, by a name.
    rules: dict[str, NotifyRule] = Field(default_factory=dict)
    #: The time that one delivery may take.
    timeout: Seconds = 30.0

    @property
    def variables(self) -> set[str]:
        """The environment variables that contain URLs."""
        return {target.env for target in self.targets.values() if target.env}

    @model_validator(mode="after")
    def _check_targets(self) -> Self:
        for name, rule in self.rules.items():
            for target in rule.to:
                if target not in self.targets:
                    text = f"there is no target {target!r}{suggestion(target, self.targets)}"
                    raise invalid({f"rules.{name}.to": f"{text}; known: {listed(self.targets)}"})
        return self
