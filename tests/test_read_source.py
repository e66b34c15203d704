"""A study is the same in a folder and in an archive, and no archive leads out of itself or fills the memory."""

import os
import stat
import struct
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from medmm.errors import DataError, Reason
from medmm.read.dicom.study import read_study
from medmm.read.guard import RefusedError
from medmm.read.sources import source
from medmm.read.sources.source import Source, forget_archives
from tests.dicom_files import CANARIES, ramp, write, write_report


def pack(path: Path, members: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number in range(3):
        write(tmp_path / "study" / f"series{number % 2}" / f"{number}.dcm", ramp() + number, InstanceNumber=number)
    (tmp_path / "study" / "note.txt").write_text("CANARYNOTE")
    (tmp_path / "study" / ".hidden").write_text("CANARYNOTE")
    return tmp_path / "study"


def packed(folder: Path, **options: int) -> Path:
    files = [file for file in folder.rglob("*") if file.is_file()]
    content = {file.relative_to(folder).as_posix(): file.read_bytes() for file in reversed(files)}
    return pack(folder.with_suffix(".zip"), content, **options)


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_an_archive_is_the_same_study_as_its_folder(folder: Path, method: int) -> None:
    archive = packed(folder, method=method)

    assert Source(archive).names() == Source(folder).names()
    assert Source(archive).digest() == Source(folder).digest()
    ours, theirs = read_study(Source(archive), "c1").images, read_study(folder, "c1").images
    assert len(ours) == len(theirs) == 3
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(one.pixels, other.pixels)


def test_a_study_that_was_read_knows_the_digest_of_its_files(folder: Path) -> None:
    write_report(folder / "report.dcm")
    (folder / "series1" / "copy.dcm").write_bytes((folder / "series1" / "1.dcm").read_bytes())

    assert read_study(folder, "c1").digest == Source(folder).digest()
    assert read_study(Source(packed(folder)), "c1").digest == Source(folder).digest()


def test_some_members_are_a_study_of_their_own(folder: Path) -> None:
    archive = packed(folder)

    study = read_study(Source(archive, ("series1/1.dcm",)), "c1")

    assert len(study.images) == 1
    assert Source(archive, ("series1/1.dcm",)).digest() == Source(folder / "series1" / "1.dcm").digest()


def test_reading_an_archive_writes_nothing(folder: Path) -> None:
    archive = packed(folder)
    before = sorted(folder.parent.rglob("*"))

    read_study(Source(archive), "c1")

    assert sorted(folder.parent.rglob("*")) == before


def test_a_link_below_a_study_is_followed_once(folder: Path, tmp_path: Path) -> None:
    write(tmp_path / "elsewhere" / "9.dcm", ramp())
    (folder / "more").symlink_to(tmp_path / "elsewhere")
    (folder / "series0" / "around").symlink_to(folder)

    assert [name for name in Source(folder).names() if "9.dcm" in name] == ["more/9.dcm"]


def link(path: Path) -> Path:
    info = zipfile.ZipInfo("1.dcm")
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(info, "/etc/CANARYNAME")
    return path


def encrypted(path: Path) -> Path:
    content = bytearray(pack(path, {"1.dcm": b"x"}).read_bytes())
    content[content.index(b"PK\1\2") + 8] |= 1
    path.write_bytes(content)
    return path


def twice(path: Path) -> Path:
    content = pack(path, {"1.dcm": b"x", "2.dcm": b"y"}).read_bytes()
    path.write_bytes(content.replace(b"2.dcm", b"1.dcm"))
    return path


def overlapping(path: Path) -> Path:
    """Two entries of the index for one member, as bombs have them."""
    content = pack(path, {"1.dcm": bytes(5000)}, zipfile.ZIP_STORED).read_bytes()
    start, end = content.index(b"PK\1\2"), content.index(b"PK\5\6")
    entry = content[start:end]
    tail = bytearray(content[end:])
    struct.pack_into("<HHL", tail, 8, 2, 2, 2 * len(entry))
    path.write_bytes(content[:start] + entry + entry.replace(b"1.dcm", b"2.dcm") + tail)
    return path


def declaring(path: Path, size: int) -> Path:
    content = bytearray(pack(path, {"1.dcm": b"x" * 100}).read_bytes())
    struct.pack_into("<L", content, content.index(b"PK\1\2") + 24, size)
    path.write_bytes(content)
    return path


def bomb(path: Path, size: int, members: int = 1) -> Path:
    """Zeros, a thousand times smaller than they are."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for number in range(members):
            with archive.open(f"{number}.dcm", "w", force_zip64=True) as member:
                for _ in range(size >> 20):
                    member.write(bytes(2**20))
    return path


def cut(path: Path) -> Path:
    path.write_bytes(pack(path, {"1.dcm": bytes(1000)}, zipfile.ZIP_STORED).read_bytes()[:-30])
    return path


def spoilt(path: Path) -> Path:
    content = pack(path, {"1.dcm": b"CANARYNAME" * 99}, zipfile.ZIP_STORED).read_bytes()
    path.write_bytes(content.replace(b"CANARYNAMECANARYNAME", b"CANARYNAMECANARYNAMF", 1))
    return path


def crowded(path: Path) -> Path:
    content = bytearray(pack(path, {"1.dcm": b"x"}).read_bytes())
    struct.pack_into("<L", content, content.index(b"PK\5\6") + 12, 2**27)
    path.write_bytes(content + bytes(64))
    return path


HOSTILE: dict[str, tuple[Reason, Callable[[Path], Path]]] = {
    "a name that climbs": (Reason.OUTSIDE, lambda path: pack(path, {"../CANARYNAME.dcm": b"x"})),
    "a name that climbs later": (Reason.OUTSIDE, lambda path: pack(path, {"a/../../CANARYNAME.dcm": b"x"})),
    "an absolute name": (Reason.OUTSIDE, lambda path: pack(path, {"/etc/CANARYNAME": b"x"})),
    "a name with a drive": (Reason.OUTSIDE, lambda path: pack(path, {"C:CANARYNAME": b"x"})),
    "a name with backslashes": (Reason.OUTSIDE, lambda path: pack(path, {"..\\CANARYNAME": b"x"})),
    "a link": (Reason.OUTSIDE, link),
    "a password": (Reason.CORRUPT, encrypted),
    "one name twice": (Reason.CORRUPT, twice),
    "files over one another": (Reason.CORRUPT, overlapping),
    "a member of 4 GB": (Reason.TOO_LARGE, lambda path: declaring(path, 2**32 - 2)),
    "a bomb": (Reason.TOO_LARGE, lambda path: bomb(path, 100 * 2**20)),
    "a size that is not true": (Reason.CORRUPT, lambda path: declaring(path, 90)),
    "an archive cut short": (Reason.CORRUPT, cut),
    "an archive that is none": (Reason.CORRUPT, lambda path: (path.write_bytes(b"CANARYNAME") and path) or path),
    "a member whose checksum is wrong": (Reason.CORRUPT, spoilt),
    "an index larger than it may be": (Reason.TOO_LARGE, crowded),
}


@pytest.mark.parametrize("how", HOSTILE)
def test_an_archive_that_cannot_be_trusted_is_refused_whole(how: str, tmp_path: Path) -> None:
    code, make = HOSTILE[how]
    archive = make(tmp_path / "CANARYNAME.zip")
    before = sorted(tmp_path.parent.rglob("*"))

    with pytest.raises(DataError) as caught:
        read_study(Source(archive), "c1")

    told = str(caught.value)
    assert caught.value.code == code
    assert told.startswith("case c1: ")
    assert "\n" not in told
    assert not any(canary in told for canary in CANARIES)
    assert sorted(tmp_path.parent.rglob("*")) == before
    assert Source(archive).digest() == Source(archive).digest()


def test_slices_that_are_all_air_are_no_bomb(tmp_path: Path) -> None:
    names = [write(tmp_path / "s" / f"{n}.dcm", np.zeros((512, 512), "<u2"), InstanceNumber=n) for n in range(4)]
    archive = pack(tmp_path / "s.zip", {path.name: path.read_bytes() for path in names})

    assert Source(archive).digest() == Source(tmp_path / "s").digest()


def test_many_small_bombs_are_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source, "_SMALL", 2**20)
    archive = bomb(tmp_path / "a.zip", 2**20, members=20)

    with pytest.raises(DataError, match="its archive inflates to 20 MiB") as caught:
        read_study(Source(archive), "c1")

    assert caught.value.code == Reason.TOO_LARGE


def test_a_study_that_is_larger_than_it_may_be_is_refused(folder: Path) -> None:
    with Source(folder).opened() as reader:
        reader.left = 6000
        reader.read("series0/0.dcm")
        with pytest.raises(RefusedError, match="its study has more than") as caught:
            reader.read("series0/2.dcm")

    assert caught.value.code == Reason.TOO_LARGE


@pytest.mark.parametrize("name", ["../CANARYNAME", "/etc/passwd", "a\\..\\..\\b", "C:\\b"])
def test_a_member_never_leads_out_of_its_folder(folder: Path, name: str) -> None:
    with pytest.raises(DataError) as caught:
        read_study(Source(folder, (name,)), "c1")

    assert caught.value.code == Reason.OUTSIDE
    assert not any(canary in str(caught.value) for canary in CANARIES)


def test_what_was_refused_before_is_refused_when_it_is_read(folder: Path) -> None:
    refused = Source(folder, refused=(Reason.NOT_RETRIEVED, "the server gives 3 of 4 objects", "Try again"))

    with pytest.raises(DataError, match="case c1: the server gives 3 of 4 objects") as caught:
        read_study(refused, "c1")

    assert caught.value.code == Reason.NOT_RETRIEVED
    assert refused.digest() != Source(folder).digest()


def test_an_archive_that_was_packed_again_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    first = Source(pack(path, {"1.txt": b"one"})).digest()
    time.sleep(0.01)
    second = Source(pack(path, {"1.txt": b"two"})).digest()

    assert first != second


def test_a_source_tells_nothing_of_its_path(folder: Path) -> None:
    assert repr(Source(folder / "CANARYNAME", ("CANARYID",))) == "Source()"


def test_an_archive_that_was_read_and_removed_is_off_the_disk_once_it_is_forgotten(tmp_path: Path) -> None:
    path = tmp_path / "study.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.dcm", b"content")

    def held() -> int:
        """Descriptors of this process that keep it."""
        open_now = [Path("/proc/self/fd", name) for name in os.listdir("/proc/self/fd")]
        return sum(os.readlink(one).startswith(str(path)) for one in open_now if os.path.lexists(one))

    Source(path).digest()
    path.unlink()
    before = held()
    forget_archives()

    assert (before, held()) == (1, 0)
