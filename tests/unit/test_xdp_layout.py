"""``layout.py`` says what ``edged.h`` says, by the compiler's own word; and refuses what the maps cannot say."""

from __future__ import annotations

import re
import subprocess
from ipaddress import ip_address, ip_network
from pathlib import Path

import numpy as np
import pytest

from edged.domain.entry import Entry
from edged.portal.head import Verdict, answers
from edged.xdp import layout
from edged.xdp.fake import FakeMaps
from edged.xdp.layout import Action, Answers, Frames, Held, LayoutError, Settings

HEADER = Path(layout.__file__).parent / "bpf" / "edged.h"
STRUCTS = {
    "edged_live": layout.LIVE,
    "edged_prefix": layout.KEY6,
    "edged_entry": layout.ENTRY,
    "edged_network": layout.NETWORK,
    "edged_mask": layout.MASK,
    "edged_text": layout.TEXT,
    "edged_settings": layout.SETTINGS,
    "edged_link": layout.LINK,
}
NUMBERS = {
    "EDGED_LAYOUT": layout.VERSION,
    "EDGED_SLOTS": layout.SLOTS,
    "EDGED_LENGTHS": layout.LENGTHS,
    "EDGED_GARDENS": layout.GARDENS,
    "EDGED_ANSWER": layout.ANSWER,
    "EDGED_FLOWS": layout.FLOWS,
    "EDGED_MACS": layout.MACS,
    "EDGED_LINKS": layout.LINKS,
    "EDGED_DROP_BLOCKED": layout.DROP_BLOCKED,
    "EDGED_NARROW": layout.NARROW,
    "EDGED_GARDEN_OPEN": layout.OPEN_GARDEN,
    "EDGED_GARDEN_WALLED": layout.WALLED_GARDEN,
    "EDGED_ACTIONS": len(Action),
    "EDGED_ANSWERS": layout.SETTINGS["answers"].shape[0],
    **{f"EDGED_LINK_{frames.name}": frames.value for frames in Frames if frames != Frames.ALL},
    **{f"EDGED_{action.name}": action.value for action in Action},
}
SAID = answers("http://100.64.0.1:8081/")
TEXTS = Answers(SAID[Verdict.FOUND], SAID[Verdict.FOUND_NO_BODY], SAID[Verdict.BAD])


def test_the_compiler_sees_the_same_sizes_places_and_numbers(tmp_path: Path) -> None:
    lines = ["#include <stddef.h>", f'#include "{HEADER}"']
    for struct, kind in STRUCTS.items():
        lines.append(f'_Static_assert(sizeof(struct {struct}) == {kind.itemsize}, "{struct}");')
        for name, (_, offset) in ((n, f[:2]) for n, f in (kind.fields or {}).items()):
            lines.append(f'_Static_assert(offsetof(struct {struct}, {name}) == {offset}, "{struct}.{name}");')
    lines += [f'_Static_assert({name} == {value}, "{name}");' for name, value in NUMBERS.items()]
    source = tmp_path / "same.c"
    source.write_text("\n".join(lines) + "\n")
    command = ["clang", "-fsyntax-only", str(source)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    source.write_text(source.read_text().replace("== 24", "== 25"))
    assert subprocess.run(command, capture_output=True).returncode != 0, "the comparison itself does nothing"


def test_every_struct_of_the_header_is_compared() -> None:
    assert set(re.findall(r"^struct (edged_\w+) \{", HEADER.read_text(), re.MULTILINE)) == set(STRUCTS)


def test_keys_and_values_there_and_back() -> None:
    four = layout.keys(4, ip_address("100.64.0.10").packed + ip_address("100.64.0.11").packed)
    assert four.tobytes() == bytes([100, 64, 0, 10, 100, 64, 0, 11])
    six = layout.keys(56, ip_address("2001:db8:1:200::").packed)
    assert six[0].tobytes() == layout.key(b"\x38" + ip_address("2001:db8:1:200::").packed)
    assert layout.key(b"\x04" + bytes([1, 2, 3, 4])) == bytes([1, 2, 3, 4])
    assert (layout.family(4), layout.family(64)) == (4, 6)
    several = [Held(3), Held(4, 1, 2**62)]
    assert [layout.held(v.tobytes()) for v in layout.values(several)] == several
    assert [layout.held(v.tobytes()) for v in layout.same(4, 2)] == [Held(4)] * 2
    assert len(layout.values([])) == 0


@pytest.mark.parametrize(
    ("entry", "held"),
    [
        (Entry(3), Held(3)),
        (Entry(4, lift=0, until=11_000), Held(4, 0, 5_000_000_000 + 1_000_000_000)),
        (Entry(4, lift=3, until=11_000), Held(4, 3, 6_000_000_000)),
        (Entry(4, lift=0, until=10_000), Held(4)),  # it has ended
        (Entry(3, lift=3, until=11_000), Held(3)),  # it lifts nothing
        (Entry(3, until=10**16), Held(3, 0, 2**63 - 1)),
    ],
)
def test_a_promise_in_the_kernels_own_time(entry: Entry, held: Held) -> None:
    assert layout.of_entry(entry, 10_000, 5_000_000_000) == held


def test_gardens_by_length_and_membership() -> None:
    table = layout.gardens(
        {
            "open": [ip_network("192.0.2.0/24"), ip_network("2001:db8::/32")],
            "garden": [ip_network("192.0.2.0/24"), ip_network("192.0.2.7/32")],
        }
    )
    assert (table.lengths4, table.lengths6) == ((24, 32), (32,))
    found = {
        (int(k["family"]), int(k["length"]), k["address"].tobytes()[:4]): int(v)
        for k, v in zip(table.keys, table.values, strict=True)
    }
    both = layout.OPEN_GARDEN | layout.WALLED_GARDEN
    assert found == {
        (4, 24, bytes([192, 0, 2, 0])): both,
        (4, 32, bytes([192, 0, 2, 7])): layout.WALLED_GARDEN,
        (6, 32, bytes.fromhex("20010db8")): layout.OPEN_GARDEN,
    }


def test_more_garden_lengths_than_are_tried_are_taken_wider() -> None:
    """What passes without need is decided by the rules; what does not pass would not be."""
    many = [ip_network(f"{n}.128.0.0/{n}", strict=False) for n in range(8, 33)]
    table = layout.gardens({"open": many})
    assert len(table.lengths4) == layout.GARDENS
    held = {(int(k["length"]), bytes(k["address"][:4])) for k in table.keys}
    for network in many:
        wider = [n for n in table.lengths4 if n <= network.prefixlen]
        assert any((n, network.supernet(new_prefix=n).network_address.packed) in held for n in wider)


def test_settings_say_what_does_not_fit_and_what_to_do() -> None:
    nothing = layout.gardens({})
    with pytest.raises(LayoutError, match=r"network\.ipv6_prefix_lengths.*at most 8.*9 are set"):
        layout.settings(Settings(TEXTS, lengths6=tuple(range(48, 57))), nothing, 1)
    long = answers("http://100.64.0.1/" + "x" * 1000)
    with pytest.raises(LayoutError, match=r"portal\.url.*shorten it"):
        layout.settings(Settings(TEXTS._replace(found=long[Verdict.FOUND])), nothing, 1)


def test_settings_as_the_program_reads_them() -> None:
    value = layout.settings(Settings(TEXTS, (60,), rate=10, burst=3), layout.gardens({}), 7)
    row = np.frombuffer(value, layout.SETTINGS)[0]
    assert (row["layout"], row["seed"], row["cost"], row["burst"]) == (layout.VERSION, 7, 100_000_000, 300_000_000)
    assert row["port"] == 80
    assert row["lengths6"][0]["bits"].tobytes() == b"\xff" * 7 + b"\xf0" + b"\0" * 8
    for text, answer in zip(row["answers"], (*TEXTS, TEXTS.short), strict=True):
        assert text["bytes"].tobytes()[: text["length"]] == answer
    assert layout.word_sum(b"\x01\x02\x03") == sum(np.frombuffer(b"\x01\x02\x03\0", np.uint16).tolist())


def test_the_short_answer_is_the_same_redirect_without_its_body() -> None:
    assert TEXTS.short == (
        b"HTTP/1.1 302 Found\r\nLocation: http://100.64.0.1:8081/\r\nCache-Control: no-store\r\n"
        b"Connection: close\r\nContent-Length: 0\r\n\r\n"
    )


def test_links_and_counters() -> None:
    row = np.frombuffer(layout.link(Frames.VLAN | Frames.PPPOE, [b"\x02\0\0\0\0\x01"], [0, 65, 4095]), layout.LINK)[0]
    assert (row["flags"], row["macs"][0].tobytes()) == (10, b"\x02\0\0\0\0\x01\0\0")
    assert (row["vlans"][0], row["vlans"][1], row["vlans"][63]) == (1, 2, 1 << 63)
    assert np.frombuffer(layout.link(Frames.VLAN, []), layout.LINK)[0]["vlans"].tolist() == [2**64 - 1] * 64
    raw = np.zeros((len(Action), 2), np.uint64)
    raw[Action.SYN_ACK] = (3, 4)
    told = layout.counted(raw.tobytes(), 2)
    assert told["syn_ack"] == 7
    assert sum(told.values()) == 7


def test_the_fake_holds_what_the_maps_would() -> None:
    maps = FakeMaps()
    generation = maps.begin(1, 0)
    maps.write(generation, 4, layout.keys(4, bytes([1, 2, 3, 4])), layout.values([Held(4, 0, 9)]))
    assert maps.read(4, bytes([1, 2, 3, 4])) is None
    maps.switch(generation, Settings(TEXTS))
    assert maps.read(4, bytes([1, 2, 3, 4])) == Held(4, 0, 9)
    maps.delete(generation, 4, layout.keys(4, bytes([1, 2, 3, 4])))
    assert maps.everything(4) == {}
    with pytest.raises(LayoutError):
        maps.switch(maps.begin(1, 1), Settings(TEXTS, lengths6=tuple(range(9))))
