"""The database layout and its migrations, oldest first; ``PRAGMA user_version`` counts those applied."""

from __future__ import annotations

MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        """CREATE TABLE subscriber (
             id INTEGER PRIMARY KEY,
             sub TEXT NOT NULL UNIQUE,
             level INTEGER NOT NULL,           -- in force, 0 open .. 4 blocked
             due INTEGER NOT NULL,             -- next moment something ends or begins, Unix ms, 0 never
             promised INTEGER NOT NULL,        -- 1 while a promise runs
             record TEXT NOT NULL              -- reasons, promise, ... as JSON (domain/model.py)
           ) STRICT""",
        "CREATE INDEX subscriber_due ON subscriber(due) WHERE due > 0",
        "CREATE INDEX subscriber_level ON subscriber(level) WHERE level > 0",
        """CREATE TABLE address (
             key BLOB PRIMARY KEY,             -- tag and address, see plan.py
             owner INTEGER NOT NULL,           -- subscriber.id
             level INTEGER NOT NULL,           -- the kernel entry: level without the promise ...
             rate INTEGER NOT NULL,            -- kbit/s while reduced
             lift INTEGER NOT NULL,            -- ... with it
             until INTEGER NOT NULL,           -- ... and its end, Unix ms
             notified INTEGER NOT NULL         -- a notice counts as seen until, Unix ms
           ) STRICT, WITHOUT ROWID""",
        "CREATE INDEX address_owner ON address(owner)",
        "CREATE INDEX address_restricted6 ON address(key, level) WHERE level > 0 AND key >= x'05'",  # level: covering
        """CREATE TABLE restricted4 (
             net INTEGER PRIMARY KEY,          -- a /24 as 24 bits
             bits BLOB NOT NULL,               -- its restricted addresses, see bitmap.py
             n INTEGER NOT NULL                -- how many
           ) STRICT""",
        """CREATE INDEX address_special ON address(key)
             WHERE level > 0 AND (level <> 3 OR until > 0 OR notified > 0)""",
        """CREATE TABLE invoice (
             owner INTEGER NOT NULL,
             id TEXT NOT NULL,
             settled INTEGER NOT NULL,
             spent INTEGER NOT NULL,           -- promises used on it, kept for ever
             PRIMARY KEY (owner, id)
           ) STRICT, WITHOUT ROWID""",
        "CREATE TABLE batch (id TEXT PRIMARY KEY, at INTEGER NOT NULL, answer TEXT NOT NULL) STRICT, WITHOUT ROWID",
        "CREATE INDEX batch_at ON batch(at)",
        "CREATE TABLE outbox (id INTEGER PRIMARY KEY AUTOINCREMENT, event TEXT NOT NULL) STRICT",
        "CREATE TABLE garden (name TEXT PRIMARY KEY, list TEXT NOT NULL) STRICT, WITHOUT ROWID",
        "CREATE TABLE note (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID",
    ),
)
