"""`JobDoc` as jobflow-remote's users know it: its job, its resources and its execution configuration are objects."""

from __future__ import annotations

from typing import Any

from jobflow import Job
from pydantic import ConfigDict, Field
from qtoolkit.core.data_objects import QResources

from jfr_mp import model
from jfr_mp.api.documents import NaiveTimes, RemoteInfo
from jfr_mp.config import ExecutionConfig


class JobDoc(NaiveTimes, model.JobDoc):
    """A document of the jobs collection."""

    model_config = ConfigDict(arbitrary_types_allowed=True)

    job: Job  # type: ignore[assignment]  # an object instead of its serialized form
    remote: RemoteInfo = Field(default_factory=RemoteInfo)
    exec_config: ExecutionConfig | str | None = None  # type: ignore[assignment]  # likewise
    resources: QResources | dict[str, Any] | None = None  # type: ignore[assignment]  # likewise

    @property
    def name(self) -> str:
        """The name that the user gave the job."""
        return str(self.job.name)

    @property
    def hosts(self) -> list[str]:
        """The uuids of the enclosing flows, innermost first."""
        return list(self.job.hosts)

    def as_db_dict(self) -> dict[str, Any]:
        """Return the document as MongoDB stores it."""
        from monty.json import jsanitize

        fields = self.model_dump(mode="python", exclude={"job", "resources"})
        stored: dict[str, Any] = jsanitize(fields, strict=True, allow_bson=True, enum_values=True)
        stored["job"] = jsanitize(self.job, strict=True, allow_bson=True)
        is_object = isinstance(self.resources, QResources)
        stored["resources"] = self.resources.as_dict() if is_object else self.resources  # type: ignore[union-attr]  # `is_object`
        return stored
