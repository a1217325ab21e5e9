"""Mirrors an ERP's contracts (erp_schema.sql) into gateways: changes as they happen, everything when one asks for it.

    python erp_mirror.py erp.db --broker mqtts://broker:8883 --issuer erp --key erp.key

It may be killed at any moment: what it handed over is in the outbox, what it did not is above the mark in `espelho`. A
row that cannot be carried over is reported and left out; the others go on, and it comes again when it is corrected.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import logging
import re
import sqlite3
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

from edged.client import Answer, Brokers, Sender
from edged.errors import EdgedError

Command = dict[str, Any]
GATEWAY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
REASONS = {"aviso": "notice", "reduzido": "debt_partial", "bloqueado": "debt"}
AT_ONCE = 500
"""Contracts in one look at the table; each is at most four commands."""


def describe(erp: sqlite3.Connection, contract: sqlite3.Row) -> tuple[list[Command], list[str]]:
    """What is true of a contract now (its addresses, its debt), and the invoices it has paid."""
    sub, rev = contract["contrato"], contract["rev"]
    invoices = erp.execute(
        "SELECT numero, vencimento, paga_em FROM fatura WHERE contrato = ? ORDER BY vencimento", (sub,)
    ).fetchall()
    addresses = [a for a in (contract["ipv4"], contract["prefixo_ipv6"]) if a]
    commands: list[Command] = [{"op": "bind", "sub": sub, "rev": rev, "addresses": addresses}]
    if reason := REASONS.get(contract["status"]):
        block: Command = {"op": "block", "sub": sub, "rev": rev, "reason": reason}
        block["invoices"] = [{"id": i["numero"], "due": i["vencimento"]} for i in invoices if i["paga_em"] is None]
        if contract["notificado_em"]:
            block["notified_at"] = contract["notificado_em"]
        commands.append(block)
    return commands, [i["numero"] for i in invoices if i["paga_em"] is not None]


def state(erp: sqlite3.Connection, contract: sqlite3.Row) -> list[Command]:
    """What is true of a contract now."""
    return describe(erp, contract)[0]


def changes(erp: sqlite3.Connection, contract: sqlite3.Row) -> list[Command]:
    """From whatever the gateway holds to what is true now. Payments first: they release within the same batch."""
    sub, rev = contract["contrato"], contract["rev"]
    if contract["status"] == "cancelado":
        return [{"op": "forget", "sub": sub, "rev": rev}]
    (bind, *block), paid = describe(erp, contract)
    settle = [{"op": "paid", "sub": sub, "rev": rev, "invoices": paid[-100:]}] if paid else []
    held = {b["reason"] for b in block}
    lift = [{"op": "unblock", "sub": sub, "rev": rev, "reason": r} for r in REASONS.values() if r not in held]
    return [bind, *settle, *lift, *block]


def carried(contract: sqlite3.Row, what: Callable[[], Iterable[Command]]) -> list[Command]:
    """The commands for a contract; none, and a line for a person, where a row of it is broken."""
    try:
        commands = list(what())
        # Latin-1 in the table would come out as characters that are no text: two names must never become one.
        if "\ufffd" in json.dumps(commands, ensure_ascii=False).encode().decode():
            raise ValueError("U+FFFD: somebody has replaced a character already")
        if not GATEWAY.fullmatch(contract["concentrador"]):
            raise ValueError(f"concentrador {contract['concentrador']!r} is no name of a gateway")
    except (ValueError, sqlite3.DataError) as e:
        print(f"contrato {contract['contrato']!r} left out, correct it: {e}")
        return []
    return commands


def snapshot(erp: sqlite3.Connection, gateway: str) -> Iterable[Command]:
    """All that is true of a gateway's contracts: what `resync.wanted` is answered with."""
    print(f"{gateway} asks for everything")
    query = "SELECT * FROM contrato WHERE concentrador = ? AND status <> 'cancelado' ORDER BY contrato"
    for contract in erp.execute(query, (gateway,)):
        yield from carried(contract, partial(state, erp, contract))


async def mirror(erp: sqlite3.Connection, sender: Sender) -> bool:
    """Hand over what changed since the last time; False: nothing did."""
    (mark,) = erp.execute("SELECT rev FROM espelho").fetchone()
    rows = erp.execute("SELECT * FROM contrato WHERE rev > ? ORDER BY rev LIMIT ?", (mark, AT_ONCE)).fetchall()
    if not rows:
        return False
    upto = rows[-1]["rev"]
    by_gateway: dict[str, list[Command]] = {}
    for contract in rows:
        if commands := carried(contract, partial(changes, erp, contract)):
            by_gateway.setdefault(contract["concentrador"], []).extend(commands)
    for gateway, commands in by_gateway.items():
        # Should we die before the mark below is written, they are handed over again, as batches of their own: that
        # is harmless, because they say what is true of a contract, and by which change, not what happened to it.
        sent = await sender.send(gateway, commands)
        print(f"{gateway}: {len(commands)} commands in {len(sent.ids)} batches, up to change {upto}")
    with erp:
        erp.execute("UPDATE espelho SET rev = ?", (upto,))
    return True


def report(answer: Answer) -> None:
    """Every answer, also to what an earlier run sent. Refused commands are the ERP's to look at; held ones are kept."""
    print(f"{answer.gateway}: batch {answer.id} enforced: {answer.document.get('summary')}")
    if answer.held:
        print(f"{answer.gateway}: holds {len(answer.held)} blocks ({answer.held[0].get('detail')}); not sent again")
    for result in answer.rejected:
        if result.get("code") != "unknown_subscriber":  # an unblock of somebody who was never blocked
            print(f"{answer.gateway}: {result.get('sub')}: {result.get('code')}: {result.get('detail')}")


async def main(options: argparse.Namespace) -> None:
    """Poll until interrupted."""
    with contextlib.closing(sqlite3.connect(options.erp, timeout=30)) as erp:
        erp.row_factory = sqlite3.Row
        erp.text_factory = lambda text: text.decode(errors="surrogateescape")
        async with Sender(
            "erp-mirror",
            brokers=Brokers(options.broker, username=options.username, password_file=options.password_file),
            outbox=options.outbox or options.erp.with_suffix(".outbox"),
            issuer=options.issuer,
            key=options.key,
            table=lambda gateway: snapshot(erp, gateway),
            on_answer=report,
        ) as sender:
            while True:
                try:
                    if await mirror(erp, sender):
                        continue
                except (EdgedError, sqlite3.OperationalError) as e:  # a full disk, a table that is locked
                    print(f"nothing handed over, trying again: {e}")
                await asyncio.sleep(options.poll)


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="Mirrors an ERP's contracts into gateways.")
    parser.add_argument("erp", type=Path, help="the ERP's database, made by erp_schema.sql")
    parser.add_argument("--broker", action="append", help="mqtt://host:port or mqtts://host:port; repeatable")
    parser.add_argument("--username")
    parser.add_argument("--password-file", type=Path)
    parser.add_argument("--issuer", help="the name under which the gateways know the key")
    parser.add_argument("--key", type=Path, help="made by `edged keygen`; without it nothing is signed")
    parser.add_argument("--outbox", type=Path, help="default: beside the database")
    parser.add_argument("--poll", type=float, default=1.0, metavar="SECONDS")
    options = parser.parse_args()
    options.broker = options.broker or ["mqtt://127.0.0.1:1883"]
    return options


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(name)s: %(message)s")
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(main(arguments()))
