"""Where the daemon's log lines go: standard error, for the journal with priority and without a second time."""

from __future__ import annotations

import logging
import os
import sys

# Severity numbers of syslog, which the journal reads from the head of a line (sd-daemon(3)).
_PRIORITY = {logging.DEBUG: 7, logging.INFO: 6, logging.WARNING: 4, logging.ERROR: 3, logging.CRITICAL: 2}


class _Journal(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        head = f"<{_PRIORITY.get(record.levelno, 5)}>"
        return "\n".join(head + line for line in super().format(record).splitlines())


def begin(*, verbose: bool) -> None:
    """Sets up the root logger: information and worse, with ``verbose`` all there is (which may name subscribers)."""
    handler = logging.StreamHandler(sys.stderr)
    if "JOURNAL_STREAM" in os.environ:
        handler.setFormatter(_Journal("%(name)s: %(message)s"))
    else:
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)-7s %(name)s: %(message)s"))
    logging.basicConfig(level=logging.DEBUG if verbose else logging.INFO, handlers=[handler], force=True)
