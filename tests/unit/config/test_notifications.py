"""The rules of notifications in a project file."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from jfr_mp.config import JfrMpOptions
from jfr_mp.config.notifications import NotifyRule
from jfr_mp.config.validation import explain
from jfr_mp.hosts.environment import job_environment

TARGETS = {"mail": {"env": "URL_OF_MAIL"}}


def options(**rule: Any) -> dict[str, Any]:
    return {"notify": {"targets": TARGETS, "rules": {"r": {"on": ["job_failed"], "to": ["mail"], **rule}}}}


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (options(on=["job_fialed"]), "is not an occasion (did you mean 'job_failed'?)"),
        (options(on=[]), "notify.rules.r.on"),
        (options(to=["mial"]), "notify.rules.r.to: there is no target 'mial' (did you mean 'mail'?); known: mail"),
        (options(interval=0), "notify.rules.r.interval"),
        ({"notify": {"targets": {"x": {}}}}, "give exactly one of url, env and file"),
        ({"notify": {"targets": {"x": {"env": "A", "url": "hunter2"}}}}, "give exactly one of url, env and file"),
    ],
)
def test_a_wrong_rule_is_explained_without_a_value(data: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValidationError) as caught:
        JfrMpOptions.model_validate(data)
    text = "\n".join(explain(caught.value, data))
    assert problem in text
    assert "hunter2" not in text


@pytest.mark.parametrize(
    ("rule", "flow", "workers", "wanted"),
    [
        ({}, "any", ["w"], True),
        ({"workers": ["w"]}, "any", ["w"], True),
        ({"workers": ["v"]}, "any", ["w"], False),
        ({"workers": ["v"]}, None, [], True),
        ({"flows": ["relax*"]}, "relax Si", [], True),
        ({"flows": ["relax*"]}, "static", [], False),
        ({"flows": ["relax*"]}, None, ["w"], True),
        ({"on": ["flow_failed"]}, "any", ["w"], False),
    ],
)
def test_what_a_rule_wants(rule: dict[str, Any], flow: str | None, workers: list[str], wanted: bool) -> None:
    made = NotifyRule.model_validate({"on": ["job_failed"], "to": ["mail"], **rule})
    assert made.wants("job_failed", flow, workers) is wanted


def test_jobs_do_not_get_the_variables_with_urls() -> None:
    made = JfrMpOptions.model_validate(options())
    assert job_environment(made, {"URL_OF_MAIL": "hunter2", "OTHER": "x"}) == {"OTHER": "x"}
