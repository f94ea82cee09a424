from pathlib import Path

import pytest

from jfr_mp.jobdata.files import job_path, replacing, write_atomically

UUID = "abcdef01-2345-6789-abcd-ef0123456789"


@pytest.mark.parametrize(("index", "name"), [(1, f"{UUID}_1"), (12, f"{UUID}_12"), (None, UUID)])
def test_a_run_directory_lies_where_the_peer_puts_it(index: int | None, name: str) -> None:
    assert job_path(UUID, index, Path("/work dir")) == f"/work dir/ab/cd/ef/{name}"


def test_what_is_no_uuid_cannot_lead_out_of_the_work_dir() -> None:
    with pytest.raises(ValueError, match="UUID"):
        job_path("../../../etc", 1, "/work")


def test_a_file_is_whole_or_not_there(tmp_path: Path) -> None:
    # Given a file
    path = tmp_path / "file.json.gz"
    write_atomically(path, b"old")
    # When the writer of a new one fails in the middle
    with pytest.raises(RuntimeError), replacing(path) as temporary:
        temporary.write_bytes(b"ne")
        assert temporary.name.endswith(path.name)
        raise RuntimeError
    # Then the old one is there, and nothing else
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]
