"""What the models' types do not say: meanings of operations, fields and codes, in the words of docs/protocol.md."""

from __future__ import annotations

EFFECTS = {
    "bind": (
        "These addresses are the subscriber's. One that is bound to another moves over (event `address.moved`)"
        " and takes no restriction with it. `replace` false adds to what is bound"
    ),
    "unbind": "These addresses, or without `addresses` all, are nobody's",
    "block": (
        "Sets one reason, in place of the same reason set before. Applies at once, or from a later moment on"
        " (`deferred`; see Onset)"
    ),
    "unblock": (
        "Clears one reason, whatever it says; `debt*` clears the three debt reasons. `preventive` ends with"
        ' `"cause": "documents_ok"` alone. There is no unblock-all'
    ),
    "paid": (
        "Settles these invoices, or without `invoices` all; clears the debt reasons left without an open"
        " invoice and ends their promise as fulfilled. Settled invoices never restrict again, also when the"
        " payment comes first"
    ),
    "trust": (
        "A promise: lifts the debt reasons, or those of these invoices, until `until`, for so many `hours` or `days`,"
        " to the end of the `next_business_day`, or for as long as is usual (see Promises)"
    ),
    "untrust": "Ends the promise now; it stays used",
    "defer": (
        "Puts the debt reasons, or those of these invoices, off until `until`, or eases them to the level `up_to`. One"
        " of each `kind`: a new one takes its place. Allowed before there is any debt"
    ),
    "undefer": "Ends the deferral of this `kind`, or without `kind` all",
    "moratorium": (
        "No debt begins in the area, or with `*` anywhere, until `until`. `release_existing` also lets those rest that"
        " are in force there. Takes the place of the one said before for the same area"
    ),
    "end_moratorium": "It is over; what waited for it is judged anew",
    "outage": (
        "A fault: pages and queries tell of it, and no debt begins in the area while it lasts. The same `id` renews it"
    ),
    "end_outage": "It is mended; what waited for it is judged anew",
    "calendar": "Replaces the municipal holidays of the area; an empty list takes them out",
    "forget": "Removes the subscriber and everything about it, also from answers that are kept",
    "query": "Changes nothing. The answer's `record` is what `edged why` shows",
    "digest": "Changes nothing. The answer's `record` holds the digest and its 256 shards",
    "garden": (
        "Replaces the named list of what everybody may reach whatever else is set; ports need networks or domains"
    ),
    "page": (
        "Without `sub`: replaces the texts that the page of this `reason` shows. With `sub`: replaces the payment data"
        " of that subscriber (see Pages). `fields` of nothing, `{}`, takes them out"
    ),
}
"""op -> what it does."""

HEAD = {
    "v": "Version of the contract.",
    "issuer": (
        "Who says it. Signed: the same as the signature's `kid`, 1 to 63 of A-Z a-z 0-9 . _ -, beginning with a letter"
        " or digit."
    ),
    "ts": "When it was signed.",
    "expires": "From this moment on it is not to be carried out any more.",
    "aud": "Names of gateways and groups that it is meant for.",
    "epoch": "Which numbering; compared as text, a higher one begins anew.",
}

FIELDS: dict[str, dict[str, str]] = {
    "": {
        "op": "What to do.",
        "sub": (
            "Contract, service or login: 1 to 128 printable characters, no space at the ends. An address or"
            " prefix is a subscriber of its own, bound to itself."
        ),
        "rev": "Your revision of this subscriber: a lower one than the highest seen is `stale`, an equal one is not.",
        "ref": "Your ticket or protocol number.",
    },
    "Bind": {
        "addresses": "IPv4 addresses, IPv4 prefixes up to /24, IPv6 prefixes.",
        "area": "Where the subscriber lives, in names of your own; left out: as before. Not `*`.",
        "replace": "False: in addition to those bound before.",
    },
    "Unbind": {"addresses": "Left out: all."},
    "Block": {
        "reason": "Why.",
        "invoices": "What is open; none: the whole debt.",
        "notified_at": "When the subscriber was told; `debt` then waits `policy.notice_days` from here.",
        "not_before": "Not in force earlier.",
        "deadline": "An event tells that it has come; `pause` then ends. `preventive` and `debt` have one by default.",
        "level": "Of a debt reason a milder one; of `abuse` `walled` or `blocked`; of `operator` any.",
        "rate": "kbit/s each way; without it the gateway's own. With a level other than `reduced` it is refused.",
        "page": "Kept and shown in the record; it chooses no page of its own.",
        "override": "Who takes it on himself that a debt begins in spite of calendar, moratorium and outage.",
    },
    "Override": {"author": "Who; opaque.", "motive": "Why; opaque. Both are kept in the audit trail."},
    "Unblock": {"reason": "Which.", "cause": "`documents_ok` ends `preventive`; others are not judged."},
    "Paid": {"invoices": "Left out: all. An empty list is refused."},
    "Trust": {
        "basis": "What the subscriber says: he will pay, or has paid and it has not cleared.",
        "method": "How it was paid; goes with `payment_claimed` alone. Left out: `bank`.",
        "invoices": "None: every debt reason, also one that comes while it runs.",
        "until": "When it ends; or",
        "hours": "how long; or",
        "days": "how long, of 24 hours; or",
        "next_business_day": "to the end of the next bank day. At most one of the four; none: by `basis` and `method`.",
        "channel": "Where it was granted, for the record.",
    },
    "Defer": {
        "until": "When it ends.",
        "kind": "Which of the three.",
        "invoices": "None: every debt reason, also one that comes while it runs.",
        "up_to": "The level that the debt is eased to; left out: lifted altogether.",
    },
    "Undefer": {"kind": "Left out: all."},
    "StartMoratorium": {
        "area": "As in `bind`; `*`: all, also those of no area.",
        "until": "When it ends by itself.",
        "release_existing": "Also those in force, each by a deferral of the kind `moratorium`.",
    },
    "EndMoratorium": {"area": "Of which; one for `*` and one for an area are two."},
    "StartOutage": {
        "id": "Yours.",
        "area": "As in `bind`; `*`: all, also those of no area.",
        "eta": "When its end is expected; told as one that may be extended.",
    },
    "EndOutage": {"id": "Of which."},
    "SetHolidays": {
        "area": "As in `bind`; not `*`.",
        "dates": "All that are known, of every year.",
        "version": "Yours, of this list; opaque.",
    },
    "Query": {"sub": "Whom; or", "address": "whoever has this address: exactly one of the two."},
    "GardenList": {
        "name": "Of the list.",
        "networks": "At widest a /8, IPv6 a /16; no host bits.",
        "domains": "Names, each as it is asked for: `www` counts as another. No wildcards.",
        "ports": 'Only these: `443`, `"tcp/443"`, `"udp/5060-5061"`. None: all.',
    },
    "Page": {
        "reason": "Whose page; with `sub` it may be left out and is not judged.",
        "sub": "Whose payment data.",
        "fields": "Texts, or payment data: name to value (see Pages).",
        "invoices": "With `sub`: what is paid with it. A `paid` of any of them takes it out; none: any `paid` does.",
    },
    "InvoiceIn": {"id": "Its number.", "due": "The day it is due, ISO 8601."},
    "Batch": {
        **HEAD,
        "id": (
            "Yours: 1 to 64 printable characters, new for each batch. Seen again within 30 days it changes nothing,"
            " whatever it holds."
        ),
        "seq": "Rises by one within an epoch, from 1 (or 0).",
        "commands": "In the order in which they are carried out. Each stands or falls alone.",
    },
    "Chunk": {
        **HEAD,
        "sync": "Names the snapshot; a newer one of the same issuer displaces one that is not complete.",
        "part": "Which chunk, from 1.",
        "parts": "How many there are; the same in all.",
        "seq": "The last batch on this gateway's `cmd` whose effect is in the snapshot; the same in all.",
        "commands": "`bind`, `block` for a debt reason, `trust`, `defer`, of one subscriber or of many.",
        "shards": "Only these of the 256 parts of the subscribers are replaced; the same in all.",
    },
}
"""Struct -> field -> meaning. Those under an empty name count for every command that has such a field."""

CODES = {
    "malformed": (
        "No JSON, a field missing, unknown or wrong; a snapshot's chunks that contradict each other",
        "mend the sender; the same message is refused again",
    ),
    "unsigned": (
        "JSON where a signature is required",
        "sign it",
    ),
    "bad_signature": (
        "Unknown `kid`, another `alg`, a wrong signature, or an `issuer` other than `kid`",
        "compare key and name with `security.issuers` of the gateway, then send the same batch again",
    ),
    "wrong_audience": (
        "`aud` names neither this gateway nor the group of the topic",
        "correct `aud` or the topic",
    ),
    "expired": (
        "`expires` has passed, or `ts` is older than `max_age_hours` (24)",
        "sign the same batch anew, same `id` and number, with new times",
    ),
    "from_the_future": (
        "`ts` is more than `max_ahead_minutes` (5) ahead",
        "compare the clocks, send it again",
    ),
    "stale": (
        "`epoch` and `seq` are not above the highest seen, or `rev` is below it",
        (
            "of a batch: it came too late; send a snapshot, or a higher `epoch` if your numbering was lost. Of"
            " a command: something newer is in force"
        ),
    ),
    "not_authorized": (
        "The issuer's roles do not allow it; `preventive` cleared without the cause `documents_ok`",
        "let another issuer say it, or add the role at the gateway; send the cause",
    ),
    "unknown_op": (
        "An `op` that this version does not know",
        "check the spelling, or the gateway's `version`",
    ),
    "unknown_subscriber": (
        "Nobody of that name or address; only `bind`, `block` and `paid` make one known",
        "`bind` first",
    ),
    "bad_address": (
        (
            "No address, host bits set, too wide, a prefix length the gateway does not use, or inside another"
            " subscriber's"
        ),
        "correct it, or `unbind` the other first",
    ),
    "address_protected": (
        "It touches `network.protected` of the gateway",
        "nothing: it can never be restricted",
    ),
    "trust_spent": (
        "The promise for an invoice is used up, or those of 30 days are, or one ran out unpaid",
        "wait for the payment",
    ),
    "trust_too_long": (
        "Longer than `policy.trust_max_hours` (168)",
        "ask for less",
    ),
    "trust_not_applicable": (
        (
            "No debt reason, another reason in force, other invoices, or not overdue for long enough; of `defer`:"
            " `until` has passed"
        ),
        "nothing, or `unblock` if it must be",
    ),
    "notice_too_short": (
        "`policy.require_notice` is on and `notified_at` is missing",
        "send it",
    ),
    "capacity": (
        "Not used in this version",
        "",
    ),
    "brake": (
        (
            "With the status `held`: the brake keeps the command. Of a whole snapshot, `rejected`: the brake held it"
            " and a human dropped it"
        ),
        "held: nothing, it is kept; tell somebody, who looks at the gateway. Dropped: look at the export",
    ),
}
"""code -> (when, what the sender does)."""

WAITS = {
    "not_before": "The command says so",
    "notice_days": "`policy.notice_days` have not passed since `notified_at`",
    "moratorium": "A moratorium in the area; until its end",
    "outage": "An outage in the area; looked at again at its `eta`, and every 15 minutes",
    "calendar": "No moment at which the cut calendar lets a debt begin; until the next one",
    "clock": "The gateway's clock is not to be trusted; looked at again every minute",
}
"""What puts a reason off -> when, in the words of docs/protocol.md."""
