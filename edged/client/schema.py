"""What the outbox keeps: its tables, and their rows as values."""

from __future__ import annotations

from typing import NamedTuple

VERSION = 2
SCHEMA = """
CREATE TABLE IF NOT EXISTS stream (
  topic TEXT PRIMARY KEY, epoch TEXT NOT NULL, seq INTEGER NOT NULL, covered INTEGER NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS batch (
  topic TEXT NOT NULL, seq INTEGER NOT NULL, id TEXT NOT NULL, waiting TEXT NOT NULL, commands BLOB NOT NULL,
  made INTEGER NOT NULL, done INTEGER NOT NULL DEFAULT 0, digest BLOB NOT NULL DEFAULT x'',
  beyond BLOB NOT NULL DEFAULT x''
) STRICT;
CREATE UNIQUE INDEX batch_id ON batch (id, topic);
CREATE UNIQUE INDEX batch_open ON batch (topic, seq) WHERE done = 0;
CREATE INDEX batch_seq ON batch (topic, seq);
CREATE INDEX batch_done ON batch (done) WHERE done > 0;
CREATE INDEX IF NOT EXISTS batch_beyond ON batch (topic) WHERE beyond <> x'';
CREATE TABLE IF NOT EXISTS snapshot (
  gateway TEXT PRIMARY KEY, sync TEXT NOT NULL, parts INTEGER NOT NULL, epoch TEXT NOT NULL, seq INTEGER NOT NULL,
  shards TEXT NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS part (gateway TEXT NOT NULL, part INTEGER NOT NULL, commands BLOB NOT NULL) STRICT;
CREATE UNIQUE INDEX IF NOT EXISTS part_key ON part (gateway, part);
CREATE TABLE IF NOT EXISTS wanted (gateway TEXT PRIMARY KEY, times INTEGER NOT NULL DEFAULT 1) STRICT;
CREATE TABLE IF NOT EXISTS met (gateway TEXT PRIMARY KEY) STRICT;
"""
FROM_1 = """
ALTER TABLE batch RENAME TO batch_1;
DROP INDEX batch_open;
DROP INDEX batch_seq;
DROP INDEX batch_done;
"""
MOVE_1 = """
INSERT INTO batch (topic, seq, id, waiting, commands, made, done)
  SELECT topic, seq, id, waiting, commands, made, done FROM batch_1 ORDER BY rowid;
DROP TABLE batch_1;
INSERT INTO met SELECT substr(topic, 4, length(topic) - 7) FROM stream WHERE topic LIKE 'gw/%';
"""
"""An id was unique in the whole file; what stood behind it was forgotten with the answer."""


class Row(NamedTuple):
    """A batch that waits for answers. ``topic`` without its head: ``gw/gw1/cmd``."""

    topic: str
    epoch: str
    seq: int
    id: str
    waiting: tuple[str, ...]
    """Gateways that have not answered; empty: nobody knows who will."""
    commands: bytes


class Reserved(NamedTuple):
    """What became of a call: the ids of its batches in order, and who has not answered those that are open."""

    ids: tuple[str, ...]
    open: dict[str, tuple[str, ...]]


class Snapshot(NamedTuple):
    """A snapshot whose parts are all in the outbox. ``epoch`` empty: the stream is not numbered."""

    gateway: str
    sync: str
    parts: int
    epoch: str
    seq: int
    shards: tuple[int, ...] | None
