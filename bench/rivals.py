"""The other ways of doing it: files for ``nft -f`` and ``ipset restore``, and the usual ipset + iptables gateway."""

from __future__ import annotations

from pathlib import Path

from .common import BenchError, sh
from .people import Addresses, texts


def nft_file(path: Path, values: Addresses, *, sized: bool = True) -> None:
    """A file that ``nft -f`` loads in one transaction: one table, one set, all elements.

    ``sized`` gives the rival the same fixed hash that we use; without it the load is slower still.
    """
    size = f"size {2 * len(values)};" if sized else ""
    with path.open("w") as out:
        out.write(f"table inet rival {{\n\tset restricted4 {{\n\t\ttype ipv4_addr; {size}\n\t\telements = {{ ")
        out.write(",\n".join(texts(values)))
        out.write(" }\n\t}\n}\n")


def ipset_file(path: Path, name: str, values: Addresses) -> None:
    """A file for ``ipset restore``, with room for all from the beginning."""
    with path.open("w") as out:
        out.write(f"create {name} hash:ip family inet hashsize {1 << 20} maxelem {4 * len(values)}\n")
        out.writelines(f"add {name} {text}\n" for text in texts(values))


def iptables() -> str:
    """The iptables that can match an ipset here: legacy where it works, else the nft-based one."""
    for name in ("iptables-legacy", "iptables-nft", "iptables"):
        try:
            sh("unshare", "-n", name, "-t", "nat", "-S")
        except (BenchError, FileNotFoundError):
            continue
        return name
    raise BenchError("no usable iptables (apt install iptables)")


def usual_gateway(namespace: str, subscriber_side: str, members: Path) -> str:
    """The usual way: blocked addresses in an ipset, HTTP redirected in nat (hence conntrack), the rest rejected.

    Gives back the name of the iptables used.
    """
    tables = iptables()
    run = ("ip", "netns", "exec", namespace)
    sh(*run, "ipset", "restore", "-f", str(members))
    match = ("-i", subscriber_side, "-m", "set", "--match-set", "blocked", "src")
    redirect = ("-p", "tcp", "--dport", "80", "-j", "REDIRECT", "--to-ports", "8880")
    sh(*run, tables, "-t", "nat", "-A", "PREROUTING", *match, *redirect)
    sh(*run, tables, "-A", "FORWARD", *match, "-j", "REJECT")
    return tables
