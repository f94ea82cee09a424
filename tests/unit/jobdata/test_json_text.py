"""Values survive being written and read, and both packages read what the other writes."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from math import inf, isnan, nan

import numpy as np
import pytest
from monty.json import MontyDecoder

from jfr_mp.jobdata import json_text


def test_no_value_changes() -> None:
    # Given values that JSON cannot express
    time = datetime(2024, 5, 1, 1, 2, 3, 456789, tzinfo=UTC)
    values = {"time": time, "infinite": [inf, -inf], "bytes": b"\x00\xff", "text": "é€", "number": np.float64(0.5)}
    # When they are written, and read by our reader or by that of jobflow-remote
    text = json_text.dump(values)
    ours = MontyDecoder().process_decoded(json_text.load(text))
    theirs = MontyDecoder().decode(text.decode())
    # Then they are the same
    assert ours == theirs == values


def test_nan_is_kept() -> None:
    assert isnan(json_text.load(json_text.dump({"nan": nan}))["nan"])


def test_plain_json_stays_plain() -> None:
    assert json.loads(json_text.dump({"a": [1, 2.5, None, "x"]})) == {"a": [1, 2.5, None, "x"]}


def test_what_is_no_json_is_refused() -> None:
    with pytest.raises(json.JSONDecodeError):
        json_text.load(b'{"truncated": ')
