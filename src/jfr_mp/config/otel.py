"""Where traces of jobs go: the part of the project file under ``metadata.jfr_mp.otel``."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator

from jfr_mp.config.validation import ConfigModel
from jfr_mp.errors import ConfigError

_PACKAGES = ("opentelemetry.sdk.trace", "opentelemetry.exporter.otlp.proto.http.trace_exporter")


def _collector(url: str) -> str:
    try:
        parts = urlsplit(url)
        complete = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:  # the port is no number
        complete = False
    if not complete:
        raise ValueError("must be the URL of a collector that takes OTLP over HTTP, such as http://localhost:4318")
    if parts.username is not None or parts.password is not None or parts.query or parts.fragment:
        raise ValueError("must contain no secret: put headers into the variable OTEL_EXPORTER_OTLP_HEADERS")
    return url


class OtelOptions(ConfigModel):
    """Traces of jobs, which role processes send to a collector."""

    #: The URL of the collector, such as http://localhost:4318, to which /v1/traces is appended. Headers, certificates
    #: and everything else come from the standard variables OTEL_* of the environment.
    endpoint: Annotated[str, AfterValidator(_collector)]

    @staticmethod
    def require_packages() -> None:
        """Raise a `ConfigError` if the packages that traces need are not installed."""
        try:
            found = all(find_spec(name) for name in _PACKAGES)
        except ModuleNotFoundError:
            found = False
        if not found:
            raise ConfigError(
                "metadata.jfr_mp.otel needs the packages of OpenTelemetry: install them with "
                "`pip install 'jfr-mp[otel]'`, or remove it from the project file"
            )
