"""One example of each document; tests hold them against the schemas. Also the worked sums of docs/protocol.md."""

from __future__ import annotations

from typing import Any

from edged.domain import digest
from edged.domain.levels import Level

_SUM = "b1d5781111d84f7b"
_HEAD = {"v": 1, "gateway": "gw1"}
_SUMMARY = {"applied": 2, "unchanged": 0, "deferred": 0, "rejected": 0, "held": 0}
_TIMES = {"received": "2026-11-21T12:00:00.120Z", "enforced": "2026-11-21T12:00:00.123Z", "enforced_ms": 3.1}
_SIGNED = {"issuer": "erp", "ts": "2026-11-21T12:00:00Z", "expires": "2026-11-22T12:00:00Z", "aud": ["gw1"]}
_BIND = {"op": "bind", "sub": "C-1001", "rev": 7, "addresses": ["100.64.0.10", "2001:db8:0:100::/56"]}
_BLOCK = {"op": "block", "sub": "C-1001", "rev": 7, "reason": "debt", "invoices": [{"id": "F-77", "due": "2026-11-05"}]}

EXAMPLES: dict[str, dict[str, Any]] = {
    "command": {"op": "block", "sub": "100.64.0.10", "reason": "debt"},
    "batch": {"v": 1, "id": "01JD8W3K", **_SIGNED, "epoch": "2026-11", "seq": 41, "commands": [_BIND, _BLOCK]},
    "chunk": {
        "v": 1, "sync": "01JD9A", "part": 3, "parts": 200, **_SIGNED, "epoch": "2026-11", "seq": 41,
        "commands": [_BIND, _BLOCK],
    },
    "acknowledgement": {
        "v": 1, "id": "01JD8W3K", "gateway": "gw1", "duplicate": False, **_TIMES,
        "summary": {**_SUMMARY, "applied": 1, "rejected": 1},
        "results": [
            {"i": 0, "sub": "C-1001", "status": "applied"},
            {"i": 1, "sub": "C-1001", "status": "rejected", "code": "stale",
             "detail": "rev 7 is below 8, the highest seen for this subscriber"},
        ],
    },
    "chunk-acknowledgement": {
        "v": 1, "id": "01JD9A", "gateway": "gw1", "duplicate": False, "received": "2026-11-21T12:00:00Z",
        "summary": {**_SUMMARY, "applied": 0}, "results": [], "sync": "01JD9A", "part": 3, "parts": 200, "missing": 197,
    },
    "snapshot-acknowledgement": {
        "v": 1, "id": "01JD9A", "sync": "01JD9A", "gateway": "gw1", "duplicate": False, **_TIMES,
        "summary": {**_SUMMARY, "applied": 1_000_000, "unchanged": 250_000},
        "counts": {"subscribers": 1_000_000, "added": 120, "changed": 80, "removed": 12, "kept": 1},
        "hash": _SUM, "results": [],
    },
    "online": {
        **_HEAD, "version": "0.3.0", "online": True, "since": "2026-11-20T03:00:00Z", "at": "2026-11-21T12:00:01Z",
        "subscribers": 12_000, "levels": {"notice": 40, "reduced": 0, "walled": 212, "blocked": 0},
        "last_batch": "01JD8W3K", "epoch": "2026-11", "seq": 41,
        "streams": {"erp gw/gw1/cmd": ["2026-11", 41], "erp group/all/cmd": ["2026-11", 6]},
        "hash": _SUM, "in_sync": True, "portal": "up", "brake": "open", "xdp": "off",
    },
    "offline": {
        **_HEAD, "version": "0.3.0", "online": False, "since": "2026-11-20T03:00:00Z",
    },
    "address.moved": {"event": "address.moved", "address": "100.64.0.10", "from": "C-1001", "to": "C-2044"},
    "block.began": {"event": "block.began", "sub": "C-1001", "reason": "debt"},
    "trust.requested": {"event": "trust.requested", "sub": "C-1001", "channel": "page"},
    "trust.granted": {"event": "trust.granted", "sub": "C-1001", "until": "2026-11-24T03:00:00Z", "local": True},
    "trust.ended": {"event": "trust.ended", "sub": "C-1001", "outcome": "breached", "until": "2026-11-21T12:00:00Z"},
    "defer.ended": {
        "event": "defer.ended", "sub": "C-1001", "kind": "agreement", "outcome": "settled",
        "until": "2026-12-21T12:00:00Z",
    },
    "pause.ended": {"event": "pause.ended", "sub": "C-1001"},
    "brake.closed": {
        "event": "brake.closed",
        "why": "more than 500 new restrictions in 60 s (brake.max_new_restrictions)",
    },
    "brake.released": {"event": "brake.released", "applied": 812, "refused": 3},
    "deadline.reached": {
        "event": "deadline.reached", "sub": "C-1001", "reason": "debt", "deadline": "2026-11-21T12:00:00Z",
    },
    "drift": {"event": "drift", "what": "the table"},
    "resync.wanted": {
        "event": "resync.wanted", "issuer": "erp", "stream": "gw/gw1/cmd", "epoch": "2026-11",
        "expected": 38, "got": 41,
    },
    "sync.missing": {"event": "sync.missing", "sync": "01JD9A", "issuer": "erp", "missing": [3, 7], "parts": 200},
}  # fmt: skip
for _document in EXAMPLES.values():
    if "event" in _document:
        _document |= {**_HEAD, "id": 5120, "at": "2026-11-21T12:00:00Z"}

_LINES = (
    ("`a`, `C-1001`, `100.64.0.10`", "C-1001", digest.binding("C-1001", "100.64.0.10")),
    ("`a`, `C-1001`, `2001:db8:0:100::/56`", "C-1001", digest.binding("C-1001", "2001:db8:0:100::/56")),
    (
        "`r`, `C-1001`, `debt`, `3`, `0`, `F-77`, `F-78`",
        "C-1001",
        digest.reason("C-1001", "debt", Level.WALLED, 0, ["F-78", "F-77"]),
    ),
    ("`a`, `João`, `100.64.0.11`", "João", digest.binding("João", "100.64.0.11")),
    (
        "`r`, `João`, `debt_partial`, `2`, `512`",
        "João",
        digest.reason("João", "debt_partial", Level.REDUCED, 512, []),
    ),
)


def sums() -> list[str]:
    """The worked sums as lines of Markdown."""
    out = ["| fields of the line | shard | number |", "|---|---|---|"]
    out += [f"| {text} | {digest.shard(sub)} | `{digest.words(number)}` |" for text, sub, number in _LINES]
    shards: dict[int, int] = {}
    for _, sub, number in _LINES:
        shards[digest.shard(sub)] = shards.get(digest.shard(sub), 0) + number
    told = ", ".join(f"shard {at} is `{digest.words(value)}`" for at, value in sorted(shards.items()))
    whole = digest.words(sum(shards.values()))
    return [*out, "", f"So {told}, the other 254 are `{digest.words(0)}`, and `hash` is `{whole}`."]
