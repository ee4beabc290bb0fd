"""Atomically written files: permissions, part files, and outputs that cannot be written."""

import os
import stat
from pathlib import Path

import pytest

from itnio_voice._files.atomic_file import check_place, new_file

pytestmark = pytest.mark.skipif(os.name != "posix", reason="permissions and links of POSIX")


def write(output: Path, text: bytes = b"new") -> None:
    """Write a file."""
    with new_file(output) as file:
        file.write(text)


def mode_of(path: Path) -> int:
    """Return a file's permissions."""
    return stat.S_IMODE(path.stat().st_mode)


def test_a_new_file_is_private(tmp_path: Path) -> None:
    """Only its owner can read a new file, at any time."""
    with new_file(tmp_path / "calls.csv") as file:
        (part,) = tmp_path.iterdir()
        assert part.name.startswith(".calls.csv.")
        assert 0o600 == mode_of(part)
        file.write(b"new")

    assert 0o600 == mode_of(tmp_path / "calls.csv")


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o644, 0o400])
def test_a_replaced_file_keeps_its_permissions(tmp_path: Path, mode: int) -> None:
    """A file that replaces another has its permissions, and no wider ones from the first byte on."""
    output = tmp_path / "calls.csv"
    output.touch()
    output.chmod(mode)
    with new_file(output) as file:
        (part,) = tmp_path.glob(".calls.csv.*")
        assert mode == mode_of(part)
        file.write(b"new")

    assert (mode, b"new") == (mode_of(output), output.read_bytes())


def test_a_planted_link_is_not_followed(tmp_path: Path) -> None:
    """A link at a predictable name, or at the output's, does not redirect the write to another file."""
    victim, output = tmp_path / "victim", tmp_path / "calls.csv"
    victim.write_bytes(b"precious")
    victim.chmod(0o644)
    (tmp_path / f".calls.csv.{os.getpid()}.part").symlink_to(victim)
    output.symlink_to(victim)
    write(output)

    assert b"precious" == victim.read_bytes()
    assert (b"new", False, 0o600) == (output.read_bytes(), output.is_symlink(), mode_of(output))


def test_two_concurrent_writers_do_not_mix(tmp_path: Path) -> None:
    """Two writers of one output do not mix, even with one process id: the last one to finish wins."""
    output = tmp_path / "calls.csv"
    with new_file(output) as first:
        first.write(b"first, ")
        write(output, b"second")
        assert b"second" == output.read_bytes()
        first.write(b"to its end")

    assert b"first, to its end" == output.read_bytes()
    assert [output] == list(tmp_path.iterdir())


def test_an_error_leaves_the_previous_file(tmp_path: Path) -> None:
    """After an error, including an interrupt, no part file is left, and the previous file is unchanged."""
    output = tmp_path / "calls.csv"
    output.write_bytes(b"before")
    with pytest.raises(KeyboardInterrupt), new_file(output) as file:
        file.write(b"half")
        raise KeyboardInterrupt

    assert ([output], b"before") == (list(tmp_path.iterdir()), output.read_bytes())


def test_the_longest_names_can_be_written(tmp_path: Path) -> None:
    """A name as long as the file system allows can be written, also with several bytes per character."""
    for name in ("n" * 251 + ".csv", "電" * 83 + ".csv"):
        write(tmp_path / name)
        assert b"new" == (tmp_path / name).read_bytes()


def test_an_invalid_output_is_named(tmp_path: Path) -> None:
    """An error names the output, not the part file, and says what to do."""
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    wrong = {
        "folder": (IsADirectoryError, "folder is a folder: choose the name of a file"),
        "none/calls.csv": (NotADirectoryError, "calls.csv cannot be written: .*none is not a folder. Create it"),
        "pipe": (FileExistsError, "pipe is not a regular file"),
        "n" * 256: (OSError, "n cannot be written: File name too long"),
    }
    for name, (error, message) in wrong.items():
        for function in (write, check_place):
            with pytest.raises(error, match=message) as raised:
                function(tmp_path / name)
            assert ".part" not in str(raised.value)
    assert ["folder", "pipe"] == sorted(os.listdir(tmp_path))


def test_a_full_disk_is_an_error_with_the_output(tmp_path: Path) -> None:
    """A system error during the write names the output."""
    with (
        pytest.raises(OSError, match=r"calls.csv cannot be written: No space left on device"),
        new_file(tmp_path / "calls.csv"),
    ):
        Path("/dev/full").write_bytes(b"text")
    assert [] == list(tmp_path.iterdir())
