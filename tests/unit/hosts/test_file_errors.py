import errno
import os

import pytest

from jfr_mp.hosts.file_errors import is_permanent, is_permanent_text, reason_in


@pytest.mark.parametrize(
    ("number", "permanent"), [(errno.EROFS, True), (errno.EACCES, True), (errno.ENOSPC, False), (errno.ENOENT, False)]
)
def test_what_lasts(number: int, permanent: bool) -> None:
    assert is_permanent(OSError(number, "")) is permanent
    text = f"noise\nmkdir: cannot create directory '/a: b': {os.strerror(number)}\n"
    assert is_permanent_text(reason_in(text)) is permanent


def test_nothing_said() -> None:
    assert reason_in(" \n") == ""
