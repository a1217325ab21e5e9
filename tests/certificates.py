"""A certificate authority of its own for a test, made by openssl in a folder of the test."""

from __future__ import annotations

import subprocess
from pathlib import Path


class Authority:
    """``ca.pem`` in ``folder``; ``issue`` makes NAME.pem and NAME.key."""

    def __init__(self, folder: Path, name: str = "ca") -> None:
        folder.mkdir(exist_ok=True)
        self.folder = folder
        self.file = folder / f"{name}.pem"
        self._key = folder / f"{name}.key"
        self._run("req", "-x509", *_new(self._key), "-days", "2", "-subj", f"/CN={name}", "-out", str(self.file))

    def issue(
        self, name: str, *, names: str = "DNS:localhost,IP:127.0.0.1", begins: str = "", ends: str = ""
    ) -> tuple[Path, Path]:
        """Certificate and key for ``names``. ``begins``/``ends`` as YYYYMMDDhhmmssZ; otherwise now and for two days."""
        cert, key, request = (self.folder / f"{name}.{kind}" for kind in ("pem", "key", "csr"))
        self._run("req", *_new(key), "-subj", f"/CN={name}", "-out", str(request))
        database = self.folder / f"{name}.index"
        database.write_text("")
        settings = self.folder / f"{name}.conf"
        settings.write_text(
            "[ca]\ndefault_ca=ours\n[ours]\n"
            f"database={database}\nnew_certs_dir={self.folder}\nrand_serial=yes\ndefault_md=sha256\npolicy=any\n"
            "x509_extensions=more\n[any]\ncommonName=supplied\n[more]\n"
            f"basicConstraints=critical,CA:FALSE\nsubjectAltName={names}\n"
        )
        dates = [*(["-startdate", begins] if begins else []), *(["-enddate", ends] if ends else ["-days", "2"])]
        self._run(
            *("ca", "-batch", "-notext", "-config", str(settings), "-cert", str(self.file), "-keyfile"),
            *(str(self._key), "-in", str(request), "-out", str(cert), *dates),
        )
        return cert, key

    @staticmethod
    def _run(*arguments: str) -> None:
        done = subprocess.run(["openssl", *arguments], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr


def _new(key: Path) -> tuple[str, ...]:
    return ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", str(key))
