"""Our side of the benches: the daemon's own store and enforcer, driven without the daemon."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from .common import sh
from .people import Addresses, texts


@contextlib.contextmanager
def enforced(namespace: str, subscriber_side: str, values: Addresses, room: Path) -> Iterator[str]:
    """The ruleset of edged in ``namespace`` with these addresses walled; says how it got there."""
    file = room / "design.nft"
    elements = ",\n".join(texts(values))
    file.write_text(f"""\
table inet edged {{
  set restricted4 {{ type ipv4_addr; size 2097152; elements = {{ {elements} }} }}
  chain restricted {{ reject with icmpx admin-prohibited; }}
  chain prerouting {{ type filter hook prerouting priority mangle; policy accept;
    iifname "{subscriber_side}" ip saddr @restricted4 goto restricted; }}
  chain forward {{ type filter hook forward priority filter; policy accept;
    oifname "{subscriber_side}" ip daddr @restricted4 drop; }}
}}
""")
    sh("ip", "netns", "exec", namespace, "nft", "-f", str(file))
    yield "a plain ruleset of the same shape"
