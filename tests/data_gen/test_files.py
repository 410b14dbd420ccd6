"""One writer at a time, whole files, and nothing replaced that is not of the output's kind."""

from __future__ import annotations

import errno
import os
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from data_gen.errors import OutputError
from data_gen.files import stream, whole
from data_gen.files.locks import Held, held, lock_path
from data_gen.files.places import Kind, starts_with
from data_gen.files.whole import is_aside, new_file, new_folder, rewritten, sweep, write_bytes

TEXT = starts_with("a text file", b"text")
PAIR = Kind("a pair of files", lambda folder: {path.name for path in folder.iterdir()} <= {"a", "b"})


def names(folder: Path) -> list[str]:
    return sorted(os.listdir(folder))


def write(path: Path, text: str = "text", **how) -> None:
    with new_file(path, who="f", kind=TEXT, **how) as aside, stream.guarded(aside) as file:
        file.write(text.encode())


def write_pair(path: Path, **how) -> None:
    with new_folder(path, who="f", kind=PAIR, **how) as aside:
        aside.mkdir()
        (aside / "a").write_text("new")


def test_a_new_file_is_there_and_nothing_else(tmp_path):
    write(tmp_path / "a.txt", "text 1")
    assert names(tmp_path) == ["a.txt"] and (tmp_path / "a.txt").read_text() == "text 1"
    umask = os.umask(0o22)
    os.umask(umask)
    assert stat.S_IMODE((tmp_path / "a.txt").stat().st_mode) == 0o666 & ~umask


def test_an_existing_file_is_kept_without_overwrite_and_keeps_its_mode_with_it(tmp_path):
    write(tmp_path / "a.txt", "text 1")
    with pytest.raises(FileExistsError, match="f: `out` must not exist yet; got .*a.txt. Pass overwrite=True"):
        write(tmp_path / "a.txt", "text 2")
    (tmp_path / "a.txt").chmod(0o600)
    write(tmp_path / "a.txt", "text 2", overwrite=True)
    assert (tmp_path / "a.txt").read_text() == "text 2" and names(tmp_path) == ["a.txt"]
    assert stat.S_IMODE((tmp_path / "a.txt").stat().st_mode) == 0o600


def test_a_file_that_appears_meanwhile_is_kept(tmp_path, monkeypatch):
    for appears in ("in the block", "at the last moment"):
        place = tmp_path / f"{appears}.txt"
        with pytest.raises((FileExistsError, OutputError), match="exist"), new_file(place, who="f", kind=TEXT) as aside:
            aside.write_text("text of ours")
            if appears == "in the block":
                place.write_text("theirs")
            else:
                monkeypatch.setattr(whole, "check_free", lambda place, *_, **__: place.write_text("theirs") == 0)
        assert place.read_text() == "theirs"


def test_a_file_of_another_kind_is_not_replaced(tmp_path):
    (tmp_path / "a.txt").write_text("unrelated")
    with pytest.raises(FileExistsError, match="must be a text file to replace; the file .*a.txt is not"):
        write(tmp_path / "a.txt", overwrite=True)
    (tmp_path / "a.txt").write_text("")
    write(tmp_path / "a.txt", overwrite=True)
    assert (tmp_path / "a.txt").read_text() == "text"


@pytest.mark.parametrize("overwrite", [False, True])
def test_what_is_no_regular_file_is_refused(tmp_path, overwrite):
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "folder").mkdir()
    (tmp_path / "dangling").symlink_to(tmp_path / "nothing")
    (tmp_path / "circle").symlink_to(tmp_path / "circle")
    (tmp_path / "to device").symlink_to(os.devnull)
    with socket.socket(socket.AF_UNIX) as bound:
        before = os.getcwd()
        os.chdir(tmp_path)
        bound.bind("socket")
        os.chdir(before)
    here = names(tmp_path)
    for path, reason in {
        tmp_path / "fifo": "a FIFO",
        tmp_path / "folder": "must be a file; got the folder",
        tmp_path / "dangling": "must be no link to nothing",
        tmp_path / "circle": "a circle of symbolic links",
        tmp_path / "to device": "a device",
        tmp_path / "socket": "a socket",
        Path(os.devnull): "a device",
    }.items():
        with pytest.raises((FileExistsError, IsADirectoryError), match=reason):
            write(path, overwrite=overwrite)
        if path.name != "folder":
            with pytest.raises(OSError, match=reason):
                write_bytes(path, b"text")
            with pytest.raises(FileExistsError):
                write_pair(path, overwrite=overwrite)
    assert names(tmp_path) == here and stat.S_ISCHR(os.stat(os.devnull).st_mode)


@pytest.mark.parametrize("name", ["missing/a.txt", "file/a.txt"])
def test_a_place_without_a_folder_is_refused(tmp_path, name):
    (tmp_path / "file").write_text("")
    for write_one in (write, write_pair):
        with pytest.raises(FileNotFoundError, match="must lie in an existing folder"):
            write_one(tmp_path / name)


def test_a_link_is_written_through(tmp_path):
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "real.txt").write_text("text 1")
    (tmp_path / "link.txt").symlink_to(Path("other") / "real.txt")
    with pytest.raises(FileExistsError, match="must not exist"):
        write(tmp_path / "link.txt")
    write(tmp_path / "link.txt", "text 2", overwrite=True)
    write_bytes(tmp_path / "link.txt", b"text 3")
    assert (tmp_path / "link.txt").is_symlink() and names(tmp_path / "other") == ["real.txt"]
    assert (tmp_path / "other" / "real.txt").read_text() == "text 3"


def test_only_one_writes_at_a_time(tmp_path):
    with new_file(tmp_path / "a.txt", who="f", kind=TEXT) as aside:
        aside.write_text("text 1")
        for path in (tmp_path / "a.txt", tmp_path / "." / "a.txt"):
            with pytest.raises(OutputError, match="f: `out` must have one writer at a time; got .*a.txt"):
                write(path, overwrite=True)
        write(tmp_path / "b.txt")
    assert (tmp_path / "a.txt").read_text() == "text 1" and names(tmp_path) == ["a.txt", "b.txt"]


def test_a_lock_may_be_shared(tmp_path):
    with held(tmp_path / "a", shared=True):
        with held(tmp_path / "a", shared=True), pytest.raises(Held), held(tmp_path / "a"):
            pass
        assert names(tmp_path) == [".a.lock"]
    with held(tmp_path / "a"), pytest.raises(Held), held(tmp_path / "a", shared=True):
        pass
    assert names(tmp_path) == []


def test_a_lock_whose_file_was_deleted_by_its_holder_is_taken_anew(tmp_path, monkeypatch):
    """The file is opened, its holder deletes it and another makes a new one: both locks would be free."""
    opened = os.open

    def late(path, *given):
        found = opened(path, *given)
        monkeypatch.setattr(os, "open", opened)
        Path(path).unlink()
        Path(path).touch()
        return found

    monkeypatch.setattr(os, "open", late)
    with held(tmp_path / "a") as locked, pytest.raises(Held), held(tmp_path / "a"):
        assert locked
    assert names(tmp_path) == []


def test_a_place_without_locks_is_used_unlocked(tmp_path, monkeypatch):
    monkeypatch.setattr("fcntl.flock", lambda *_: (_ for _ in ()).throw(OSError(errno.ENOLCK, "no locks")))
    write(tmp_path / "a.txt")
    assert (tmp_path / "a.txt").read_text() == "text"


def test_what_else_has_the_name_of_a_lock_is_kept(tmp_path):
    lock = lock_path(tmp_path / "a.txt")
    lock.write_text("a stranger's notes")
    write(tmp_path / "a.txt")
    assert lock.read_text() == "a stranger's notes"
    lock.unlink()
    lock.symlink_to(tmp_path / "a.txt")
    with pytest.raises(OutputError, match="must be a file for a lock"):
        write(tmp_path / "a.txt", overwrite=True)
    assert lock.is_symlink() and (tmp_path / "a.txt").read_text() == "text"


def test_a_killed_writer_is_no_obstacle_and_leaves_nothing_for_long(tmp_path):
    code = "import os, sys; from tests.data_gen.test_files import *\n"
    code += "with new_file(sys.argv[1], who='f', kind=TEXT) as aside: aside.write_text('text half'); os._exit(9)"
    done = subprocess.run([sys.executable, "-c", code, tmp_path / "a.txt"], cwd=Path(__file__).parents[2], check=False)
    assert done.returncode == 9
    left = names(tmp_path)
    assert len(left) == 2 and ".a.txt.lock" in left and any(map(is_aside, left))
    write(tmp_path / "b.txt")
    assert len(names(tmp_path)) == 3  # what others left is theirs
    write(tmp_path / "a.txt", "text 2")
    assert names(tmp_path) == ["a.txt", "b.txt"]


def test_files_of_strangers_with_such_names_are_kept(tmp_path):
    for name in (".a.txt.0123456789abcdef.part", "a.txt.part", ".a.txt.part", "a.txt.repacking"):
        (tmp_path / name).write_text("a stranger's")
    (tmp_path / ".a.txt.00000000ffffffff.part").mkdir()
    here = names(tmp_path)
    write(tmp_path / "a.txt")
    sweep(tmp_path)
    assert names(tmp_path) == sorted([*here, "a.txt"])


@pytest.mark.parametrize(
    "name", ["n" * 240 + ".txt", "ü" * 120 + ".txt", "new\nline.txt", "bad\udcff.txt", "sp ace.txt"]
)
def test_names_may_be_long_or_strange(tmp_path, name):
    write(tmp_path / name)
    write(tmp_path / name, "text 2", overwrite=True)
    assert names(tmp_path) == [name]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS])
@pytest.mark.parametrize("call", ["write", "fsync", "mkdir", "link", "replace", "open"])
def test_what_the_system_refuses_is_one_line_and_leaves_nothing(tmp_path, monkeypatch, call, number):
    write(tmp_path / "a.txt", "text 1")
    real = getattr(os, call)

    def refused(*given, **how):
        if call == "open" and not str(given[0]).endswith("a.txt"):
            return real(*given, **how)  # the lock and the folder
        named = given[:1] if call in ("mkdir", "link", "replace", "open") else ()
        raise OSError(number, os.strerror(number), *map(str, named))

    monkeypatch.setattr(os, call, refused)
    if number == errno.EIO and call in ("write", "fsync"):
        monkeypatch.setattr(whole, "_OF_WRITING", {errno.EIO})
    if call == "link":  # a file system without hard links
        write(tmp_path / "b.txt")
        assert (tmp_path / "b.txt").read_text() == "text"
        return
    with pytest.raises(OutputError) as refusal:
        write(tmp_path / "a.txt", "text 2", overwrite=True)
    assert str(refusal.value).startswith(f"f: {tmp_path / 'a.txt'} cannot be written ({os.strerror(number)}).")
    assert refusal.value.errno == number and isinstance(refusal.value, OSError)
    assert names(tmp_path) == ["a.txt"] and (tmp_path / "a.txt").read_text() == "text 1"


def test_a_failed_write_is_told_though_the_library_goes_on(tmp_path, monkeypatch):
    real, count = os.write, iter(range(100))
    monkeypatch.setattr(
        os, "write", lambda *given: real(*given) if next(count) < 2 else (_ for _ in ()).throw(OSError(28, "full"))
    )
    done = []
    with pytest.raises(OSError, match="No space left") as error, stream.guarded(tmp_path / "a") as file:
        for part in file.unbroken(b"abcd"):
            done.append(part)
            assert file.write(bytes([part])) == 1
    assert len(done) == 3 and error.value.errno == errno.ENOSPC and error.value.filename == str(tmp_path / "a")


@pytest.mark.parametrize("patched", [False, True])
def test_what_was_written_is_read_back(tmp_path, monkeypatch, patched):
    """Sequential content by its checksum; content that was written over by its size."""
    real = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: real(fd, bytes(len(data))))
    if patched:
        real_size = os.fstat
        monkeypatch.setattr(os, "fstat", lambda fd: real_size(0))
    with pytest.raises(OutputError, match="does not hold what was written"), stream.guarded(tmp_path / "a") as file:
        file.write(b"abc")
        file.write(b"def")
        if patched:
            file.seek(0)
            file.write(b"x")


def test_a_file_that_fails_its_check_gets_no_name(tmp_path):
    with pytest.raises(ArithmeticError):
        write(tmp_path / "a.txt", check=lambda path: 1 // len(path.read_text()[4:]))
    assert names(tmp_path) == []


def test_errors_of_the_block_pass_as_they_are(tmp_path):
    for error in (ValueError("`x`"), FileNotFoundError(2, "No such file", "input.h5"), KeyboardInterrupt()):
        with pytest.raises(type(error)) as found, new_file(tmp_path / "a.txt", who="f", kind=TEXT):
            raise error
        assert found.value is error and names(tmp_path) == []


def test_a_folder_is_replaced_only_if_it_is_of_its_kind(tmp_path):
    write_pair(tmp_path / "p")
    (tmp_path / "p" / "b").write_text("old")
    with pytest.raises(FileExistsError, match="must not exist yet"):
        write_pair(tmp_path / "p")
    write_pair(tmp_path / "p", overwrite=True)
    assert names(tmp_path / "p") == ["a"] and names(tmp_path) == ["p"]
    (tmp_path / "p" / "notes").write_text("mine")
    with pytest.raises(FileExistsError, match="must be a pair of files to replace; the folder .*p is not"):
        write_pair(tmp_path / "p", overwrite=True)
    with pytest.raises(FileExistsError, match="must be a folder; got the file"):
        write_pair(tmp_path / "p" / "a", overwrite=True)
    assert names(tmp_path / "p") == ["a", "notes"] and names(tmp_path) == ["p"]


@pytest.mark.parametrize("fails", ["in the block", "at the rename"])
def test_a_folder_that_cannot_be_replaced_is_kept(tmp_path, monkeypatch, fails):
    write_pair(tmp_path / "p")
    (tmp_path / "p" / "b").write_text("old")
    rename = os.rename

    def refused(source, target):
        if Path(source).parent != tmp_path and Path(source).name == "p":
            raise OSError(errno.ENOSPC, "full", str(target))
        rename(source, target)

    monkeypatch.setattr(os, "rename", refused)
    with pytest.raises(OSError), new_folder(tmp_path / "p", who="f", kind=PAIR, overwrite=True) as aside:
        aside.mkdir()
        if fails == "in the block":
            raise OSError(errno.ENOSPC, "full")
    assert names(tmp_path / "p") == ["a", "b"] and names(tmp_path) == ["p"]


def test_a_folder_gets_its_name_back_after_a_kill_between_the_renames(tmp_path):
    write_pair(tmp_path / "p")
    code = "import os, sys; from tests.data_gen.test_files import *\n"
    code += "count = iter(range(9)); rename = os.rename\n"
    code += "os.rename = lambda a, b: rename(a, b) if next(count) < 1 else os._exit(9)\n"
    code += "write_pair(Path(sys.argv[1]), overwrite=True)"
    done = subprocess.run([sys.executable, "-c", code, tmp_path / "p"], cwd=Path(__file__).parents[2], check=False)
    assert done.returncode == 9 and not (tmp_path / "p").exists()
    with pytest.raises(FileExistsError, match="must not exist yet"):
        write_pair(tmp_path / "p")
    assert names(tmp_path) == ["p"] and names(tmp_path / "p") == ["a"]


def test_rewriting_keeps_the_file_that_is_there_until_the_end(tmp_path):
    write_bytes(tmp_path / "a", b"1")
    with pytest.raises(ZeroDivisionError), rewritten(tmp_path / "a") as aside:
        aside.write_bytes(b"2")
        assert (tmp_path / "a").read_bytes() == b"1"
        raise ZeroDivisionError
    assert (tmp_path / "a").read_bytes() == b"1" and names(tmp_path) == ["a"]
