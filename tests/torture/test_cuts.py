"""Some of the power cuts of ``make torture``, always the same ones, and proof that a lazy disk is found out."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.torture import cuts, daemon_log
from tests.torture.disk import Disk, File
from tests.torture.writelog import Create, Said, Sync, Truncate, Unlink, Write, read


@pytest.mark.parametrize("snapshots", [False, True])
def test_nothing_answered_is_lost_in_a_power_cut(snapshots: bool) -> None:
    recording = cuts.record(1, batches=60 if snapshots else 40, snapshots=snapshots)
    report = cuts.cut(recording, 20)
    assert report.violations == []
    assert report.answers > 30


def test_nothing_the_real_daemon_answered_is_lost_in_a_power_cut() -> None:
    recording = daemon_log.record(4, batches=20)
    report = cuts.cut(recording, 10)
    assert report.violations == []
    assert report.answers > 10


@pytest.mark.parametrize("setting", ["OFF", "NORMAL"])
def test_a_store_that_does_not_wait_for_the_disk_is_found_out(setting: str) -> None:
    recording = cuts.record(2, batches=25, synchronous=setting)
    assert cuts.cut(recording, 10).violations


# -- the disk ------------------------------------------------------------------------------------------------------


def test_what_was_synced_is_there_and_the_rest_in_sectors() -> None:
    disk = Disk()
    old, new = b"o" * 2048, b"n" * 2048
    for op in (Create("d/f"), Sync("d"), Write("d/f", 0, old), Sync("d/f"), Write("d/f", 0, new)):
        disk.feed(op)
    found = {disk.cut(random.Random(n))["f"] for n in range(200)}
    assert {old, new} < found
    assert all(f[i : i + 512] in {b"o" * 512, b"n" * 512} for f in found for i in range(0, 2048, 512))
    assert any(f[:512] == b"o" * 512 and f[512:1024] == b"n" * 512 for f in found), "never in another order"


def test_a_name_is_sure_only_when_its_folder_was_synced() -> None:
    disk = Disk()
    for op in (Create("d/f"), Write("d/f", 0, b"x"), Sync("d/f")):
        disk.feed(op)
    found = [disk.cut(random.Random(n)) for n in range(50)]
    assert {} in found
    assert {"f": b"x"} in found
    disk.feed(Sync("d"))
    assert all(disk.cut(random.Random(n)) == {"f": b"x"} for n in range(50))
    disk.feed(Unlink("d/f"))
    assert {len(disk.cut(random.Random(n))) for n in range(50)} == {0, 1}


def test_a_sector_never_holds_a_later_write_without_an_earlier_one() -> None:
    for n in range(200):
        file = File(bytearray(b"....."), [Write("f", 0, b"aaa"), Write("f", 2, b"bbb")])
        assert file.cut(random.Random(n)) in {b".....", b"aaa..", b"aabbb"}


def test_a_new_size_stays_in_its_place() -> None:
    file = File(bytearray(), [Write("f", 0, b"a" * 600), Truncate("f", 0), Write("f", 0, b"b" * 600)])
    for n in range(200):
        found = file.cut(random.Random(n))
        assert not (b"a" in found and b"b" in found)


# -- the log -------------------------------------------------------------------------------------------------------


def test_threads_in_a_log_take_turns(tmp_path: Path) -> None:
    log, db = tmp_path / "log", escaped("/d/f")
    lines = (
        f'7 pwrite64(3<{db}>, "{escaped("abc")}", 3, 512 <unfinished ...>',
        f"8 fsync(3<{db}> <unfinished ...>",
        f'9 sendto(5<{escaped("socket:[1]")}>, "{escaped("hello")}", 5, 0, NULL, 0 <unfinished ...>',
        "7 <... pwrite64 resumed>) = 2",
        "9 <... sendto resumed>) = -1 EAGAIN (Resource temporarily unavailable)",
        "8 <... fsync resumed>) = 0",
        f'9 sendto(5<{escaped("socket:[1]")}>, "{escaped("hello")}", 5, 0, NULL, 0) = 4',
    )
    log.write_text("\n".join(lines) + "\n")
    assert read(log, "/d", "socket:") == [Write("/d/f", 512, b"ab"), Sync("/d/f"), Said("socket:[1]", b"hell")]


def escaped(text: str) -> str:
    return "".join(f"\\x{b:02x}" for b in text.encode())


def test_a_log_is_read(tmp_path: Path) -> None:
    log, db, other = tmp_path / "log", escaped("/d/f"), escaped("/e/f")
    lines = (
        f'7 openat(AT_FDCWD<{escaped("/")}>, "{db}", O_RDWR|O_CREAT, 0644) = 3<{db}>',
        f'7 openat(AT_FDCWD<{escaped("/")}>, "{escaped("/d/none")}", O_RDONLY) = -1 ENOENT (No such file)',
        f'7 pwrite64(3<{db}>, "{escaped("abc")}", 3, 512) = 3',
        f'7 pwrite64(4<{other}>, "{escaped("abc")}", 3, 512) = 3',
        f"7 fdatasync(3<{db}> <unfinished ...>",
        f'8 write(9<{escaped("/s")}>, "{escaped("{}")}", 2) = 2',
        "7 <... fdatasync resumed>) = 0",
        f"7 ftruncate(3<{db}>, 5) = 0",
        f'7 unlink("{db}") = 0',
    )
    log.write_text("\n".join(lines) + "\n")
    assert [type(op).__name__ for op in read(log, "/d", "/s")] == "Create Write Said Sync Truncate Unlink".split()


@pytest.mark.parametrize(
    "line",
    [
        f"fallocate(3<{escaped('/d/f')}>, 0, 0, 4096)",
        f'rename("{escaped("/d/f")}", "{escaped("/d/g")}")',
        f"mmap(NULL, 4096, PROT_READ|PROT_WRITE, MAP_SHARED, 3<{escaped('/d/f')}>, 0)",
    ],
)
def test_what_the_log_reader_does_not_know_is_no_guess(tmp_path: Path, line: str) -> None:
    log = tmp_path / "log"
    log.write_text(f"7 {line} = 0\n")
    with pytest.raises(ValueError, match=line.partition("(")[0]):
        read(log, "/d", "/s")


def test_what_a_client_published_is_read() -> None:
    properties = b"\x02\x01\x00"
    answer = b"\x00\x05g/ack\x00\x07" + properties + b'{"id":"b"}'
    state = b"\x00\x07g/state" + b"\x00" + b"x" * 200
    stream = b"\x10\x02ab" + bytes([0x32, len(answer)]) + answer + b"\x40\x02\x00\x01"
    stream += bytes([0x31, (len(state) & 127) | 128, len(state) >> 7]) + state
    assert list(daemon_log.published(stream)) == [("g/ack", b'{"id":"b"}'), ("g/state", b"x" * 200)]
    assert [t for t, _ in daemon_log.published(stream[:-1])] == ["g/ack"], "half a packet tells nothing"
    assert not list(daemon_log.published(b"GET / HTTP/1.1"))
