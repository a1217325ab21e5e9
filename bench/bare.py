"""The bare kernel load: so many restricted addresses from memory into the kernel, by our own enforcer, nothing else.

What snapshots and restarts are measured against. A child in a namespace of its own; numpy is loaded and the addresses
are sorted before the clock starts.
"""

from __future__ import annotations

import json
import sys
import time

from edged.nft.enforcer import Enforcer
from edged.nft.schema import Settings
from edged.nft.socket import KernelBackend

from .common import BenchError, measure, namespaces, pinned, settle
from .ours import ArraySource
from .people import addresses


def load(elements: int, core: int) -> float:
    """Seconds that a fresh process takes, on this core."""
    with namespaces("bare") as ns, pinned(core):
        ran = measure([sys.executable, "-m", "bench.bare", str(elements)], namespace=ns["bare"])
    settle()
    told = json.loads(ran.output)
    if told["elements"] != elements:
        raise BenchError(f"the bare load put {told['elements']} elements into the kernel, not {elements}")
    return float(told["seconds"])


def child(elements: int) -> None:
    """Load, then tell what it took."""
    source = ArraySource(addresses(0, elements))
    start = time.monotonic()
    backend = KernelBackend()
    enforcer = Enforcer(backend, Settings(("sub*",)))
    for _ in enforcer.refill(source, lambda: int(time.time() * 1000)):
        pass
    seconds = time.monotonic() - start
    print(json.dumps({"seconds": seconds, "elements": enforcer.set_counts()["restricted4"]}))
    backend.close()


if __name__ == "__main__":
    child(int(sys.argv[1]))
