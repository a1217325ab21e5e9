"""What the outbox keeps: its tables, and their rows as values."""

from __future__ import annotations

from typing import NamedTuple

VERSION = 1
SCHEMA = """
CREATE TABLE stream (
  topic TEXT PRIMARY KEY, epoch TEXT NOT NULL, seq INTEGER NOT NULL, covered INTEGER NOT NULL
) STRICT;
CREATE TABLE batch (
  topic TEXT NOT NULL, seq INTEGER NOT NULL, id TEXT NOT NULL UNIQUE, waiting TEXT NOT NULL, commands BLOB NOT NULL,
  made INTEGER NOT NULL, done INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE UNIQUE INDEX batch_open ON batch (topic, seq) WHERE done = 0;
CREATE INDEX batch_seq ON batch (topic, seq);
CREATE INDEX batch_done ON batch (done) WHERE done > 0;
CREATE TABLE snapshot (
  gateway TEXT PRIMARY KEY, sync TEXT NOT NULL, parts INTEGER NOT NULL, epoch TEXT NOT NULL, seq INTEGER NOT NULL,
  shards TEXT NOT NULL
) STRICT;
CREATE TABLE part (gateway TEXT NOT NULL, part INTEGER NOT NULL, commands BLOB NOT NULL) STRICT;
CREATE UNIQUE INDEX part_key ON part (gateway, part);
CREATE TABLE wanted (gateway TEXT PRIMARY KEY, times INTEGER NOT NULL DEFAULT 1) STRICT;
"""


class Row(NamedTuple):
    """A batch that waits for answers. ``topic`` without its head: ``gw/gw1/cmd``."""

    topic: str
    epoch: str
    seq: int
    id: str
    waiting: tuple[str, ...]
    """Gateways that have not answered; empty: nobody knows who will."""
    commands: bytes


class Snapshot(NamedTuple):
    """A snapshot whose parts are all in the outbox. ``epoch`` empty: the stream is not numbered."""

    gateway: str
    sync: str
    parts: int
    epoch: str
    seq: int
    shards: tuple[int, ...] | None
