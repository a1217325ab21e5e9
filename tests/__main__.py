"""``python -m tests``: everything, in two halves at once: what computes, and what mostly waits for real parts.

What the first half says is printed behind the second's. Exit status 1 when a test of either failed.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile

HALVES = (["tests", "--ignore=tests/system"], ["tests/system"])


def main() -> int:
    """Entry point."""
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider"]
    with tempfile.TemporaryFile() as said:
        first = subprocess.Popen([*command, *HALVES[0]], stdout=said, stderr=subprocess.STDOUT)
        try:
            failed = subprocess.run([*command, *HALVES[1]], check=False).returncode
            failed = first.wait() or failed
        finally:
            if first.poll() is None:
                first.terminate()
                first.wait()
        said.seek(0)
        sys.stdout.buffer.write(said.read())
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
