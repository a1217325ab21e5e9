"""Compiles the XDP program while the wheel is built, so that a gateway needs no compiler; ``make`` calls it too.

The object has no place of any kernel in it (nothing but the stable context and packet bytes is read), so one object
serves every kernel from 6.0 on, and every machine of this byte order.
"""

from __future__ import annotations

import platform
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

FOLDER = Path("edged/xdp/bpf")
SOURCE, OBJECT = FOLDER / "edged.bpf.c", FOLDER / "edged.bpf.o"


def compile_object(root: Path) -> None:
    """Compile where the object is missing or older than its sources. Raises RuntimeError naming the remedy."""
    target = root / OBJECT
    sources = [*(root / FOLDER).glob("*.[ch]"), root / "hatch_build.py"]
    if target.exists() and target.stat().st_mtime >= max(s.stat().st_mtime for s in sources):
        return
    compiler = shutil.which("clang")
    if compiler is None:
        raise RuntimeError(f"{SOURCE} needs clang to be compiled: apt-get install clang libbpf-dev linux-libc-dev")
    headers = sysconfig.get_config_var("MULTIARCH") or f"{platform.machine()}-linux-gnu"
    done = subprocess.run(
        [
            *(compiler, "-target", "bpf", "-mcpu=v3", "-O2", "-g", f"-ffile-prefix-map={root}=."),
            *("-Wall", "-Wextra", "-Werror", "-Wno-sign-compare", f"-I/usr/include/{headers}"),
            *("-c", str(root / SOURCE), "-o", str(target)),
        ],
        check=False,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise RuntimeError(
            f"{SOURCE} cannot be compiled (are libbpf-dev and linux-libc-dev installed?):\n{done.stderr.strip()}"
        )


class Hook(BuildHookInterface[Any]):
    """What hatchling calls."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:  # noqa: ARG002 (hatchling's signature)
        """Compile before the files are gathered."""
        compile_object(Path(self.root))


if __name__ == "__main__":
    try:
        compile_object(Path(__file__).resolve().parent)
    except RuntimeError as error:
        sys.exit(str(error))
