from __future__ import annotations

import pytest

from jfr_mp.config.options import JfrMpOptions


@pytest.mark.parametrize("address", ["127.0.0.1:9464", "0.0.0.0:1", "[::1]:65535", "metrics.example:80"])
def test_an_address_has_a_host_and_a_port(address: str) -> None:
    assert JfrMpOptions(metrics=address).metrics == address


@pytest.mark.parametrize("address", ["localhost", ":9464", "localhost:", "localhost:x", "localhost:65536", "::1:9464"])
def test_anything_else_is_refused(address: str) -> None:
    with pytest.raises(ValueError, match=r"127\.0\.0\.1:9464"):
        JfrMpOptions(metrics=address)
