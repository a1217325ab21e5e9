"""The database layout and its migrations, oldest first; ``PRAGMA user_version`` counts those applied.

The layout follows the path of a command: a change of one subscriber's state is one row of ``subscriber``, found by its
unique name, and, where it begins or ends to be restricted, one bit of ``restricted4``. What the kernel's entry says
is kept beside the state, because it is what the kernel was told, which the state and the clock alone do not tell.
"""

from __future__ import annotations

MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (),  # versions 1 ...
    (),  # ... and 2 were never released
    (
        """CREATE TABLE subscriber (
             id INTEGER PRIMARY KEY,
             sub TEXT NOT NULL UNIQUE,
             level INTEGER NOT NULL,           -- in force, 0 open .. 4 blocked
             due INTEGER NOT NULL,             -- next moment something ends or begins, Unix ms, 0 never
             entry TEXT,                       -- the kernel entry of its addresses: NULL open, '3' walled, else JSON
             keys BLOB NOT NULL,               -- its addresses, one key behind the other (see plan.py)
             numbering INTEGER NOT NULL,       -- the last numbered batch that changed it: numbering.id, 0 none ...
             seq INTEGER NOT NULL,             -- ... and its number
             area TEXT NOT NULL,               -- where it lives, empty where nobody said
             record TEXT NOT NULL              -- reasons, promise, ... as JSON (domain/model.py)
           ) STRICT""",
        "CREATE INDEX subscriber_area ON subscriber(area) WHERE area != ''",
        "CREATE INDEX subscriber_due ON subscriber(due) WHERE due > 0",
        """CREATE TABLE address (
             key BLOB PRIMARY KEY,             -- tag and address, see plan.py
             owner INTEGER NOT NULL            -- subscriber.id
           ) STRICT, WITHOUT ROWID""",
        """CREATE TABLE restricted4 (
             net INTEGER PRIMARY KEY,          -- a /24 as 24 bits
             bits BLOB NOT NULL,               -- its restricted addresses, see bitmap.py
             n INTEGER NOT NULL                -- how many
           ) STRICT""",
        "CREATE TABLE restricted6 (key BLOB PRIMARY KEY) STRICT, WITHOUT ROWID",
        """CREATE TABLE special (
             key BLOB PRIMARY KEY,             -- an address that is in more than the restricted set ...
             owner INTEGER NOT NULL,
             entry TEXT NOT NULL               -- ... and its kernel entry as JSON
           ) STRICT, WITHOUT ROWID""",
        """CREATE TABLE invoice (
             owner INTEGER PRIMARY KEY,
             facts TEXT NOT NULL               -- invoice id -> [settled, promises used on it], JSON, kept for ever
           ) STRICT""",
        """CREATE TABLE batch (
             issuer TEXT NOT NULL,             -- empty where it was not signed
             id TEXT NOT NULL,
             at INTEGER NOT NULL,              -- Unix ms
             answer TEXT NOT NULL,
             PRIMARY KEY (issuer, id)
           ) STRICT, WITHOUT ROWID""",
        "CREATE INDEX batch_at ON batch(at)",
        """CREATE TABLE numbering (
             id INTEGER PRIMARY KEY,
             issuer TEXT NOT NULL,
             source TEXT NOT NULL,             -- the channel its batches come on
             epoch TEXT NOT NULL,
             seq INTEGER NOT NULL,             -- the highest number seen
             UNIQUE (issuer, source, epoch)
           ) STRICT""",
        """CREATE TABLE outbox (
             id INTEGER PRIMARY KEY AUTOINCREMENT,
             event TEXT NOT NULL,
             topic TEXT NOT NULL,              -- where it goes; empty: the events' topic
             correlation BLOB
           ) STRICT""",
        "CREATE TABLE garden (name TEXT PRIMARY KEY, list TEXT NOT NULL) STRICT, WITHOUT ROWID",
        "CREATE TABLE note (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID",
        """CREATE TABLE snapshot (
             id INTEGER PRIMARY KEY,
             issuer TEXT NOT NULL,
             sync TEXT NOT NULL,               -- the sender's name for it
             parts INTEGER NOT NULL,
             shards TEXT NOT NULL,             -- JSON list of those it replaces, empty for all
             epoch TEXT NOT NULL,              -- the last batch whose effect it includes ...
             seq INTEGER NOT NULL,             -- ... -1 where it does not say
             began INTEGER NOT NULL,           -- Unix ms
             at INTEGER NOT NULL,              -- when its last chunk came, or missing ones were last asked for, Unix ms
             ready INTEGER NOT NULL,           -- 1 once all parts are in
             topic TEXT NOT NULL,              -- where the last chunk wants its answer
             correlation BLOB,
             subscribers INTEGER NOT NULL,     -- how many it names
             cursor TEXT NOT NULL,             -- carried out up to this name ...
             swept INTEGER NOT NULL,           -- ... and, -1 before, whom it does not name up to this number
             tally TEXT NOT NULL,              -- what became of it so far, JSON
             restricting INTEGER NOT NULL,     -- how many it restricts who were not restricted when their chunk came
             held TEXT NOT NULL,               -- why the brake holds it, empty where it does not
             UNIQUE (issuer, sync)
           ) STRICT""",
        "CREATE TABLE chunk (snapshot INTEGER, part INTEGER, PRIMARY KEY (snapshot, part)) STRICT, WITHOUT ROWID",
        """CREATE TABLE named (
             snapshot INTEGER NOT NULL,
             sub TEXT NOT NULL,
             commands TEXT NOT NULL,           -- [part, index, command], JSON, with commas between
             done INTEGER NOT NULL,            -- 1: carried out before its turn, because a command named it
             PRIMARY KEY (snapshot, sub)
           ) STRICT, WITHOUT ROWID""",
        """CREATE TABLE claimed (
             key BLOB PRIMARY KEY              -- an address that a command gave or took since a last chunk came
           ) STRICT, WITHOUT ROWID""",
        """CREATE TABLE region (
             kind TEXT NOT NULL,               -- moratorium, outage or calendar ...
             name TEXT NOT NULL,               -- ... of this area, an outage by its id
             value TEXT NOT NULL,              -- JSON, see domain/region.py
             PRIMARY KEY (kind, name)
           ) STRICT, WITHOUT ROWID""",
        """CREATE TABLE held (
             id INTEGER PRIMARY KEY AUTOINCREMENT,
             sub TEXT NOT NULL,
             reason TEXT NOT NULL,
             issuer TEXT NOT NULL,
             at INTEGER NOT NULL,              -- Unix ms
             command TEXT NOT NULL,            -- JSON as it came: what the brake keeps from being carried out
             UNIQUE (sub, reason)
           ) STRICT""",
        """CREATE TABLE audit (
             id INTEGER PRIMARY KEY,           -- one row a decision, without a gap
             salt BLOB,
             digest BLOB NOT NULL,             -- of salt, content and sub, see domain/audit.py
             sub TEXT,                         -- salt, sub and content are NULL ...
             content TEXT                      -- ... once its subscriber is forgotten
           ) STRICT""",
        """CREATE TABLE audit_link (
             first INTEGER PRIMARY KEY,        -- one row a commit: its decisions from here ...
             last INTEGER NOT NULL,            -- ... to here
             at INTEGER NOT NULL,              -- Unix ms
             hash BLOB NOT NULL                -- of the hash before and these digests
           ) STRICT""",
        """CREATE TABLE audit_forgetting (
             name TEXT PRIMARY KEY,            -- to be taken out of the trail ...
             after INTEGER NOT NULL,           -- ... above this row: up to it, that is done
             upto INTEGER NOT NULL             -- what is recorded of it above this row came after it was forgotten
           ) STRICT, WITHOUT ROWID""",
        "CREATE TABLE braked (at INTEGER NOT NULL, n INTEGER NOT NULL) STRICT",  # new restrictions, for the brake
        """CREATE TABLE total (
             id INTEGER PRIMARY KEY CHECK (id = 1),
             levels TEXT NOT NULL,             -- subscribers by level in force, JSON
             promises INTEGER NOT NULL,        -- running
             shards BLOB NOT NULL,             -- 256 sums of bindings and debts, eight bytes each, see domain/digest.py
             rest BLOB NOT NULL                -- the sum of the other reasons
           ) STRICT""",
    ),
    (
        """CREATE TABLE page (
             reason TEXT PRIMARY KEY,          -- whose page ...
             fields TEXT NOT NULL              -- ... and the texts that a command set for it, JSON
           ) STRICT, WITHOUT ROWID""",
        """CREATE TABLE payment (
             owner INTEGER PRIMARY KEY,        -- subscriber.id
             fields TEXT NOT NULL,             -- what is shown to whoever proves to be the subscriber, JSON
             salt BLOB NOT NULL,
             code BLOB,                        -- hash of the one-time code, NULL: none
             wrong INTEGER NOT NULL,           -- how many others were tried
             used INTEGER NOT NULL,            -- when it opened the payment data, Unix ms (1: some time), 0: not
             expires INTEGER NOT NULL          -- Unix ms
           ) STRICT""",
        "CREATE INDEX payment_expires ON payment(expires)",
        """CREATE TABLE redeemed (
             token BLOB PRIMARY KEY,           -- issuer and id of a signed link that was used, hashed ...
             expires INTEGER NOT NULL          -- ... and when it is too old anyway, Unix ms
           ) STRICT, WITHOUT ROWID""",
    ),
    (
        "ALTER TABLE payment ADD COLUMN invoices TEXT NOT NULL DEFAULT '[]'",  # JSON list of those that it pays
        """CREATE TABLE tried (
             sub TEXT NOT NULL,                -- by name: who is taken out and comes back has another number
             code BLOB NOT NULL,               -- hash of a one-time code that was tried, as in payment; it stays ...
             salt BLOB NOT NULL,
             wrong INTEGER NOT NULL,
             used INTEGER NOT NULL,
             until INTEGER NOT NULL,           -- ... until this moment, Unix ms, whatever becomes of the payment data
             PRIMARY KEY (sub, code)
           ) STRICT, WITHOUT ROWID""",
        "CREATE INDEX tried_until ON tried(until)",
        """INSERT INTO tried SELECT s.sub, p.code, p.salt, p.wrong, p.used, p.expires + 7776000000
             FROM payment p JOIN subscriber s ON s.id = p.owner WHERE p.code IS NOT NULL AND (p.wrong > 0 OR p.used)""",
    ),
    (
        "ALTER TABLE redeemed ADD COLUMN used INTEGER NOT NULL DEFAULT 0",  # when, Unix ms
        "ALTER TABLE redeemed ADD COLUMN by BLOB NOT NULL DEFAULT x''",  # on whose line: a hash that tells nobody
    ),
)
