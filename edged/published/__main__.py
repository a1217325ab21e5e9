"""``python -m edged.published [--check] FOLDER``: write asyncapi.yaml, schema/ and protocol.md's tables, or compare.

Exit status: 0 done or equal, 1 a file differs or is too much (each is named), 2 wrong usage.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from edged.published import asyncapi, plainyaml, schemas, tables

NOTE = "# Generated from the models by `make docs`; do not edit.\n"


def generated(folder: Path) -> dict[Path, str]:
    """Path -> text of every file; protocol.md as it is on disk, with its generated parts anew."""
    out = {folder / "asyncapi.yaml": NOTE + plainyaml.dump(asyncapi.document())}
    for name, schema in schemas.files().items():
        out[folder / "schema" / name] = json.dumps(schema, indent=2, ensure_ascii=False) + "\n"
    protocol = folder / "protocol.md"
    out[protocol] = tables.filled(protocol.read_text("utf-8"))
    return out


def differing(folder: Path) -> list[Path]:
    """Files that are not what the models give, or that nothing gives."""
    wanted = generated(folder)
    found = {path: path.read_text("utf-8") for path in wanted if path.exists()}
    extra = [path for path in (folder / "schema").glob("*") if path not in wanted]
    return [path for path, text in wanted.items() if found.get(path) != text] + extra


def main() -> int:
    """Do what the arguments say; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m edged.published", description="The contract out of the models.")
    parser.add_argument("--check", action="store_true", help="change nothing, name what differs")
    parser.add_argument("folder", type=Path, help="docs")
    asked = parser.parse_args()
    changed = differing(asked.folder)
    if asked.check:
        for path in changed:
            sys.stderr.write(f"{path}: differs from the models; run `make docs`\n")
        return 1 if changed else 0
    wanted = generated(asked.folder)
    for path in changed:
        if path in wanted:
            path.parent.mkdir(exist_ok=True)
            path.write_text(wanted[path], "utf-8")
        else:
            path.unlink()
        sys.stdout.write(f"{path}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
