"""Sentences about pages, HTTP and logs, and halves of sentences that a core cannot show: what covers them."""

from __future__ import annotations

PAGES = "tests/unit/test_portal_pages.py, tests/unit/test_portal_site.py, tests/system/site/test_pages.py"

ELSEWHERE: dict[tuple[str, str], str] = {
    ("§1", "`court`"): f"the page itself: {PAGES}",
    ("§1", "`fraud`"): f"the page itself (no payment shown): {PAGES}",
    ("§1", "`abuse`"): f"the page itself (explanation, contact): {PAGES}",
    ("§1", "`preventive`"): f"the page itself (send documents, deadline): {PAGES}",
    ("§2", "Kept for ever"): "failover: every gateway of a group hears the same commands, tests/system/test_group.py",
    ("§2", "In force within a second"): "seconds on a real kernel: bench/, tests/system/test_story.py",
    ("§2", "At the end the old level"): "the kernel's own timeout: tests/contract/test_enforcer.py",
    ("§2", "Self-service (page button)"): "the page's button and `trust.requested`: tests/system/site/test_journey.py",
    ("§2", "With billing unreachable"): "local grants, beside the page's button: tests/unit/test_pages.py",
    ("§3", "No onset happens"): "a clock that jumps: tests/unit/test_clock.py",
    ("§4", "Payment: released at once"): "the alarm metric: tests/unit/test_metrics.py",
    ("§5", "VoIP servers"): "tests/unit/test_garden.py, tests/kernel/test_packets.py, tests/system/test_gardens.py",
    (
        "§6",
        "No name, tax id",
    ): "tests/system/test_portal.py (logs), tests/unit/test_metrics.py (labels), tests/system/site/test_tls.py",
    ("§6", "The redirector does not log"): "tests/system/test_portal.py (nothing about a visitor is logged)",
    ("§6", "The page is neutral"): "tests/unit/test_portal_pages.py (no amount, no threat, no discount)",
    ("§6", "Amounts and PIX codes"): "tests/system/site/test_tls.py (only after a proof, only over TLS)",
}
"""(Paragraph, beginning of the sentence) -> what covers it."""
