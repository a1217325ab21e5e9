"""The business rules (domain.md §1 to §6) sentence by sentence: one a line, as they stand there."""

from __future__ import annotations

TEXT: dict[str, str] = {
    "§1": """
effective level = highest level of the reasons that are active and not waived
OPEN < NOTICE < REDUCED < WALLED < BLOCKED
`court` | BLOCKED | contact only | legal | legal only
`terminated` | BLOCKED | contact only | billing | billing
`fraud` | WALLED, no payment shown | contact only | security | security
`abuse` | WALLED (or BLOCKED by `level`) | explanation, contact | noc | noc
`preventive` (*bloqueio total preventivo*) | WALLED | send documents, deadline | billing, security | `unblock`, cause \
`documents_ok`; payment and promise do not
`operator` (by hand) | WALLED | contact | operator | operator
`pause` (customer's own temporary suspension) | WALLED | reactivate | billing | its end date, or billing
`debt` (total) | WALLED | pay | billing | payment
`debt_partial` | REDUCED (`rate`) | pay | billing | payment
`notice` | NOTICE | reminder, dismissible | billing | payment, or dismissed for now
The strongest active reason chooses the page; the record keeps them all.
`trust` lifts only debt reasons (notice, debt_partial, debt), on the listed invoices or all;
`defer` (agreement, dispute, hardship) likewise, and `up_to` can let it stop short (no total block, yet still reduced);
`moratorium` and `outage` hold *new* debt onsets in an area.
**Nothing waives court, terminated, fraud, abuse, preventive, operator or pause.**
A promise under a fraud block is answered `trust_not_applicable` and changes nothing.
""",
    "§2": """
Two bases: the customer will pay by the next business day, or says the payment was made and has not cleared yet.
Default lengths: `promise` to the end of the next business day; `payment_claimed` by method: card 3 calendar days, \
bank, lottery shop, debit 2 business days, collection agency 4 business days, PIX 1 hour.
a debt reason is in force or pending;
the oldest listed invoice is at least `min_days_overdue` (default 4 calendar days) overdue where the due date is known;
none of the invoices has a spent promise.
Once per invoice (`trust_per_invoice`), and none after a breach; optionally N per 30 days.
Kept for ever in the store: restart, failover or a forgetful ERP do not reset it.
Longer than `trust_max_hours` is refused (`trust_too_long`), not shortened.
Granted → fulfilled (paid) | breached (ran out unpaid) | revoked.
In force within a second of the command.
At the end the old level returns at that second, with broker, billing and even the daemon gone (the kernel element \
times out by itself).
A promise may also be given before the block begins.
The end is moved, when granted, to the next moment the cut calendar allows (`guard_reblock`, default true); the answer \
says which.
Self-service (page button) sends the event `trust.requested`; whether the edge grants it by itself \
(`policy.local_trust`, default false) or waits for billing's `trust` is configuration.
With billing unreachable and local grants on, it is granted locally, recorded, and reported when the link is back.
""",
    "§3": """
Onset of a *debt* reason = the latest of: now, `not_before`, `notified_at` + `notice_days` (default 15, where \
`notified_at` is given; `require_notice` makes it mandatory), the end of a moratorium or outage hold, moved, where a \
cut calendar is configured, to the next permitted moment: not on Friday, Saturday, Sunday, a holiday or its eve, only \
in business hours (default 08:00–18:00 in the area's time zone).
National and state holidays from the `holidays` library including its optional category (Carnival, Corpus Christi); \
municipal ones from `calendar`.
Bank days (for promises) and cut days (for onsets) are two calendars.
The guard never delays an unblock, never applies to non-debt reasons, and an `override` with author and motive \
passes it.
No onset happens while the system clock is not synchronised; a clock that jumps causes neither mass blocks nor mass \
releases.
""",
    "§4": """
Payment: released at once; legally within one day of knowing of it, practically within a second; an alarm metric if it \
takes longer.
A first instalment counts as payment.
No fee exists anywhere.
`preventive` after 30 days and `debt` after 60 days emit `deadline.reached`.
The edge never terminates a contract.
`pause` ends itself on its date.
A payment that overtakes its block wins: settled invoices are remembered (tombstones).
An address that moves to another subscriber takes no restriction with it, in the same transaction.
""",
    "§5": """
Shops that live from their connection, homes with people at risk: `defer` with kind `hardship` and an opaque `ref`.
No health or family data reaches the edge.
`protected` networks can never be restricted (`address_protected`): infrastructure, hospitals, police.
VoIP servers, device management (ACS), DNS and emergency destinations belong in the always-open garden.
The brake: more than `max_new_restrictions` in `window_seconds`, or more than `max_share` of the known subscribers \
(judged only above 50 new restrictions), are *held*, visibly, until a human releases or drops them.
Releases of restrictions always pass.
An empty or drastically smaller snapshot is held the same way.
""",
    "§6": """
No name, tax id, amount, invoice or payment code on plain HTTP, in a URL, a retained message, a metric label or a log \
above debug.
The redirector does not log hosts, paths or referers (access providers must not keep application access logs).
The page is neutral: no threat, no embarrassment, no offer of discounts.
Amounts and PIX codes appear only on the HTTPS site after the subscriber proved who they are (a one-time code from \
billing, or the customer area of the provider).
`forget` really removes.
""",
}

SENTENCES: dict[str, list[str]] = {
    paragraph: [line.strip() for line in text.strip().splitlines()] for paragraph, text in TEXT.items()
}
