"""Messages of an attacker who may publish on every topic and has recorded everything, but holds no key of an issuer.

``python -m tests.forgery 1000000`` throws that many at a whole core (store, pipeline, fake kernel): none may change
what is in force, each must be answered with a code that says why, and genuine messages in between must be obeyed.
"""

from __future__ import annotations

import base64
import datetime as dt
import hmac
import json
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from edged import envelope
from edged.domain.keytext import encoded
from edged.envelope import Issuer, Keyring, OKPKey
from edged.intake import Incoming
from tests.unit.core import Core

MINUTE, HOUR, DAY = 60_000, 3_600_000, 86_400_000
GROUP = 500
"""Messages of one commit."""
CONTROL = 8
"""After so many groups the issuer is heard once."""
ERAS = 8
"""So often the clock goes on by four days: ids are forgotten after thirty."""
HOME, CREW = "gw/gw1/cmd", "group/all/cmd"
SOURCES = (HOME, HOME, HOME, CREW, "gw/gw1/sync")
ERP, NEXT, NOC, THIEF = (OKPKey.derive_key(word) for word in ("erp", "next", "noc", "thief"))
ORDER = (1 << 252) + 27742317777372353535851937790883648493
"""Of the Ed25519 group: S and S + ORDER verify alike where nobody looks."""

FORGED = frozenset({"bad_signature", "malformed", "unsigned"})


def keyring(kind: type[Keyring] = Keyring) -> Keyring:
    """The gateway's: billing with two keys, and the operations centre."""
    issuers = [
        Issuer(
            "erp", tuple(envelope.read_public(envelope.public_text(k)) for k in (ERP, NEXT)), frozenset({"billing"})
        ),
        Issuer("noc", (envelope.read_public(envelope.public_text(NOC)),), frozenset({"noc"})),
    ]
    return kind(issuers, required=True, audience=["gw1", "all"], max_ahead=5 * MINUTE, max_age=DAY)


def body(name: str, now: int, *commands: Any, **changes: Any) -> bytes:
    """A batch that is in order unless ``changes`` says otherwise; times in Unix ms."""
    head = {"v": 1, "id": name, "issuer": "erp", "ts": now, "expires": now + 20 * HOUR, "aud": ["gw1"], **changes}
    for key in ("ts", "expires"):
        if isinstance(head[key], int):
            head[key] = dt.datetime.fromtimestamp(head[key] / 1000, dt.UTC).isoformat()
    return json.dumps({**head, "commands": list(commands)}, separators=(",", ":")).encode()


def signed(raw: bytes, key: OKPKey = ERP, kid: str = "erp") -> bytes:
    """With a key of the issuer: for the issuer itself, and for what it once signed for others."""
    return envelope.sign(raw, key, kid)


BLOCK = {"op": "block", "sub": "C-1", "reason": "debt"}


class Forged(NamedTuple):
    """A message and how it may be answered: with one of these codes, or as a duplicate."""

    kind: str
    incoming: Incoming
    codes: frozenset[str]
    duplicate: bool = False


class Forger:
    """``tapped`` grows with what the issuer sends; ``era`` says what time it is, and makes the pools anew."""

    def __init__(self, seed: int) -> None:
        self._dice = random.Random(seed)
        self._number = 0
        self.tapped: list[Incoming] = []
        self.withheld: list[Incoming] = []
        """Messages that the attacker kept from the gateway until it had later ones."""
        self._kinds: list[Callable[[], Forged]] = [
            self._replayed,
            self._late,
            self._flipped,
            self._edited,
            self._truncated,
            self._spliced,
            self._rewritten,
            self._respelt,
            self._elsewhere,
            self._out_of_time,
            self._overstepping,
            self._by_a_stranger,
            self._by_another,
            self._other_algorithm,
            self._other_header,
            self._malleable,
            self._unsigned,
            self._noise,
        ]

    def one(self) -> Forged:
        """The next."""
        return self._dice.choice(self._kinds)()

    def era(self, now: int) -> None:
        """What issuers signed for other gateways, long ago, with clocks that are wrong, or without the right to it."""
        self._now = now
        dice = self._dice
        aside: list[list[str]] = [["gw2"], ["gw2", "core"], [], ["GW1"], ["gw1 "], ["gw"], ["*"], ["#"], ["+"]]
        self._aside = [signed(body(self._name(), now, BLOCK, aud=aud)) for aud in aside for _ in range(20)]
        self._aside += [signed(body(self._name(), now, BLOCK, aud="gw11")) for _ in range(20)]
        times: list[dict[str, Any]] = []
        for _ in range(200):
            old = now - DAY - dice.randrange(1, 40 * DAY)
            times += [
                {"ts": old, "expires": now + HOUR},
                {"ts": old, "expires": old + HOUR},
                {"expires": now - dice.randrange(0, DAY)},
                {"ts": now + 5 * MINUTE + dice.randrange(1, 400 * DAY), "expires": now + 500 * DAY},
            ]
        odd = ["0001-01-01T00:00:00+14:00", "2026-11-21T12:00:00", "", 5, None, [], "now"]
        times += [{"ts": x} for x in [*odd, "9999-12-31T23:59:59-14:00"]] + [{"expires": x} for x in odd]
        self._untimely = [signed(body(self._name(), now, BLOCK, **change)) for change in times]
        deeds = [
            BLOCK,
            {"op": "paid", "sub": "C-1"},
            {"op": "unblock", "sub": "C-1", "reason": "debt*"},
            {"op": "unblock", "sub": "C-1", "reason": "operator"},
            {"op": "trust", "sub": "C-1", "hours": 5},
            {"op": "bind", "sub": "C-1", "addresses": ["100.64.0.99"]},
            {"op": "forget", "sub": "C-1"},
        ]
        self._beyond = [
            signed(body(self._name(), now, deed, issuer="noc"), NOC, "noc") for deed in deeds for _ in range(20)
        ]

    def _name(self) -> str:
        self._number += 1
        return f"f{self._number}"

    def _source(self) -> str:
        return self._dice.choice(SOURCES)

    def _tap(self) -> bytes:
        """Often a fresh one, which is still of its time."""
        return self._dice.choice(self.tapped[self._dice.choice((0, -3, -3)) :]).payload

    def _made(self, kind: str, payload: bytes, codes: frozenset[str] = FORGED) -> Forged:
        return Forged(kind, Incoming(payload, self._source()), codes)

    # -- what was genuine once -----------------------------------------------------------------------------------

    def _replayed(self) -> Forged:
        """On its own topic or another: answered as a duplicate, or too old, or not meant for that topic."""
        codes = frozenset({"expired", "wrong_audience", "malformed"})
        return Forged("replayed", Incoming(self._tap(), self._source()), codes, duplicate=True)

    def _late(self) -> Forged:
        if not self.withheld:
            return self._replayed()
        return Forged("held back", self._dice.choice(self.withheld[-2:]), frozenset({"stale", "expired"}))

    def _elsewhere(self) -> Forged:
        return self._made("elsewhere", self._dice.choice(self._aside), frozenset({"wrong_audience"}))

    def _out_of_time(self) -> Forged:
        codes = frozenset({"expired", "from_the_future", "malformed"})
        return self._made("out of time", self._dice.choice(self._untimely), codes | {"wrong_audience"})

    def _overstepping(self) -> Forged:
        codes = frozenset({"not_authorized", "wrong_audience"})
        return Forged("overstepping", Incoming(self._dice.choice(self._beyond), HOME), codes, duplicate=True)

    # -- what is no longer what was signed -----------------------------------------------------------------------

    def _flipped(self) -> Forged:
        raw = self._tap()
        changed = bytearray(raw)
        for _ in range(self._dice.choice((1, 1, 1, 2, 9))):
            changed[self._dice.randrange(len(raw))] ^= 1 << self._dice.randrange(8)
        return self._flipped() if changed == raw else self._made("flipped", bytes(changed))

    def _edited(self) -> Forged:
        raw, at, dice = self._tap(), 0, self._dice
        at = dice.randrange(len(raw))
        some = dice.choice((b".", b"=", b"\n", b"\0", b"A", b"{", b"..", b"\xff", dice.randbytes(8)))
        edited = dice.choice((raw[:at] + some + raw[at:], raw[:at] + raw[at + 1 :], raw + some, some + raw))
        return self._edited() if edited == raw else self._made("edited", edited)

    def _truncated(self) -> Forged:
        raw = self._tap()
        at = self._dice.randrange(len(raw))
        return self._made("truncated", raw[:at] if self._dice.random() < 0.8 else raw[at + 1 :])

    def _spliced(self) -> Forged:
        """Header, body and signature of different messages."""
        others = [self._tap().split(b".") for _ in range(2)] + [self._dice.choice(self._aside).split(b".")]
        made = b".".join(self._dice.choice(others)[i] for i in range(3))
        if any(made == b".".join(other) for other in others):
            return self._rewritten()
        return self._made("spliced", made)

    def _rewritten(self) -> Forged:
        """A better body under a signature that was for another."""
        head, _, mark = self._tap().split(b".")
        return self._made("rewritten", b".".join((head, encoded(body(self._name(), self._now, BLOCK)), mark)))

    def _respelt(self) -> Forged:
        """The same bytes for a lenient decoder."""
        parts, dice = self._tap().split(b"."), self._dice
        i = dice.randrange(3)
        part = parts[i]
        loose = {2: 16, 3: 4}.get(len(part) % 4, 1)
        last = envelope._ALPHABET.index(part[-1]) ^ dice.randrange(1, loose) if loose > 1 else -1
        ways = [part + b"=", part + b"==", part + b"\n", b" " + part, part.replace(b"e", b"\r\ne", 1)]
        ways += [part[:-1] + envelope._ALPHABET[last : last + 1]] if loose > 1 else []
        parts[i] = dice.choice(ways)
        made = b".".join(parts)
        if made == b".".join(part if j == i else x for j, x in enumerate(parts)):
            return self._truncated()
        return self._made("respelt", made)

    def _malleable(self) -> Forged:
        """The other S for the same R; marks that are easy to guess."""
        head, _, mark = self._tap().rpartition(b".")
        raw = base64.urlsafe_b64decode(mark + b"==")
        other = int.from_bytes(raw[32:], "little") + ORDER * self._dice.randrange(1, 15)
        marks = [
            raw[:32] + (other % (1 << 256)).to_bytes(32, "little"),
            bytes(64),
            b"\1" + bytes(63),
            raw[32:] + raw[:32],
        ]
        return self._made("malleable", head + b"." + encoded(self._dice.choice(marks)))

    # -- what no issuer signed -----------------------------------------------------------------------------------

    def _batch(self, **changes: Any) -> bytes:
        return body(self._name(), self._now, BLOCK, **changes)

    def _by_a_stranger(self) -> Forged:
        kid = self._dice.choice(("erp", "erp", "noc", "thief", "", "local", "erp\0", "../erp"))
        return self._made("stranger", signed(self._batch(), THIEF, kid))

    def _by_another(self) -> Forged:
        """An issuer speaks for another."""
        kid = self._dice.choice(("noc", "erp"))
        return self._made("another", signed(self._batch(), NOC, kid))

    def _other_algorithm(self) -> Forged:
        name = self._dice.choice(("none", "None", "HS256", "HS512", "ES256", "RS256", "Ed448", "EdDSA", "Ed25519"))
        head = encoded(json.dumps({"alg": name, "kid": "erp"}).encode()) + b"." + encoded(self._batch())
        public = envelope.public_text(ERP)
        secret = self._dice.choice((public.encode(), base64.urlsafe_b64decode(public + "="), ERP.as_pem(private=False)))
        mark = self._dice.choice((hmac.digest(secret, head, "sha256"), hmac.digest(secret, head, "sha512"), b""))
        return self._made("algorithm", head + b"." + encoded(mark))

    def _other_header(self) -> Forged:
        dice = self._dice
        header: Any = {"alg": "Ed25519", "kid": "erp"}
        header |= dice.choice((
            {"jwk": THIEF.as_dict(private=False)},
            {"jku": "https://thief.example/keys"},
            {"x5u": "file:///etc/passwd", "x5c": ["AAAA"]},
            {"crit": ["b64"], "b64": False},
            {"crit": []},
            {"kid": dice.choice((None, 7, ["erp"], {"erp": 1}, True, "noc", "x" * 3000))},
            {"typ": "JOSE", "cty": "json", "iss": "erp"},
            {"zip": "DEF"},
        ))  # fmt: skip
        text = json.dumps(header)
        if dice.random() < 0.3:
            text = text[:-1] + dice.choice(
                (',"kid":"noc"}', ',"alg":"none"}', ',"k\\u0069d":"erp"}', "", "}}", "[" * 500)
            )
        head = encoded(text.encode(dice.choice(("utf-8", "utf-8", "utf-16")))) + b"." + encoded(self._batch())
        return self._made("header", head + b"." + encoded(envelope._ed25519.sign(head, THIEF)))

    def _unsigned(self) -> Forged:
        raw = self._batch()
        head, text, mark = self._tap().split(b".")
        whole = {"protected": head.decode(), "payload": text.decode(), "signature": mark.decode()}
        ways = (raw, b" " + raw, json.dumps(BLOCK).encode(), json.dumps(whole).encode(), b"[" + raw + b"]", raw[:-1])
        return self._made("unsigned", self._dice.choice(ways))

    def _noise(self) -> Forged:
        dice = self._dice
        letters = bytes(dice.choices(envelope._ALPHABET + b"..", k=dice.randrange(300)))
        return self._made("noise", dice.choice((dice.randbytes(dice.randrange(300)), letters, b"", b".", b"." * 9999)))


class Accepted(AssertionError):
    """A forgery had an effect, or a genuine message had none."""


class Trial:
    """A gateway, its issuer and the forger. Everything is decided by ``seed``."""

    def __init__(self, folder: Path, seed: int, ring: Keyring | None = None) -> None:
        self.core = Core(folder)
        self.core.pipeline.keyring = ring or keyring()
        self.forger = Forger(seed)
        self.seen: Counter[str] = Counter()
        """``kind: code`` -> messages."""
        self._seq = 0
        self._walls = 0
        for turn in range(6):
            self._issue({"op": "bind", "sub": "C-9", "addresses": [f"100.64.9.{turn}"]}, numbered=False)
            self._issue({"op": "bind", "sub": "C-1", "addresses": ["100.64.0.1", "2001:db8:0:100::/56"]})
        self._hold_back()
        self.forger.era(self.core.now)
        self._was = self._state()

    def _issue(self, command: Any, *, numbered: bool = True, source: str = HOME) -> None:
        """The issuer speaks, is recorded, and must be obeyed."""
        self._seq += numbered
        number = {"epoch": "e", "seq": self._seq} if numbered else {}
        raw = body(f"g{len(self.forger.tapped)}", self.core.now, command, **number)
        incoming = Incoming(signed(raw, NEXT if self._seq % 2 else ERP), source)
        answer = self.core.pipeline.process([incoming]).answers[0].document
        if [r["status"] for r in answer["results"]] not in (["applied"], ["unchanged"]) or answer["duplicate"]:
            raise Accepted(f"a genuine message was not obeyed: {answer}")
        self.forger.tapped.append(incoming)

    def _hold_back(self) -> None:
        """The attacker keeps a message, and lets the next one pass."""
        self._seq += 1
        raw = body(f"w{self._seq}", self.core.now, BLOCK, epoch="e", seq=self._seq)
        self.forger.withheld.append(Incoming(signed(raw), HOME))
        self._issue({"op": "bind", "sub": "C-8", "addresses": ["100.64.8.8"]})

    def _state(self) -> Any:
        store = self.core.store
        return (
            store.totals.hash,
            store.totals.levels,
            self.core.in_kernel(),
            store.numberings(),
            len(store.events(5000)),
        )

    def _control(self) -> None:
        """The issuer blocks and releases: both show in the kernel."""
        self._walls += 1
        before = self._state()
        self._issue({**BLOCK, "invoices": [f"F-{self._walls}"]})
        if self._state()[:2] == before[:2] or self.core.level("C-1") != "walled":
            raise Accepted("a genuine block had no effect")
        self._issue({"op": "paid", "sub": "C-1"})
        self._was = self._state()
        if self._was[:2] != before[:2]:
            raise Accepted("a genuine payment did not undo the block")

    def run(self, total: int) -> Counter[str]:
        """``total`` forgeries; kind and code of each, counted. Raises Accepted."""
        groups = max(total // GROUP, 1)
        for group in range(groups):
            self._throw([self.forger.one() for _ in range(min(GROUP, total))])
            if group % CONTROL == CONTROL - 1 or group == groups - 1:
                self._control()
            if group % max(groups // ERAS, 1) == 0:
                self.core.wait(4 * DAY)
                self._hold_back()
                self.forger.era(self.core.now)
                self._was = self._state()
        return self.seen

    def _throw(self, forged: list[Forged]) -> None:
        outcome = self.core.pipeline.process([f.incoming for f in forged])
        for f, answer in zip(forged, outcome.answers, strict=True):
            self._judge(f, answer.document)
        if (now := self._state()) != self._was:
            raise Accepted(f"forgeries changed what is in force: {self._was} became {now}")

    def _judge(self, f: Forged, answer: dict[str, Any]) -> None:
        json.dumps(answer).encode()  # it is published
        codes = {r.get("code", r["status"]) for r in answer["results"]}
        if f.duplicate and answer["duplicate"]:
            self.seen[f"{f.kind}: duplicate"] += 1
        elif codes and codes <= f.codes:
            self.seen[f"{f.kind}: {min(codes)}"] += 1
        else:
            raise Accepted(f"{f.kind}: answered {sorted(codes)} to {f.incoming!r:.2000}")


def main(total: int, seed: int) -> None:
    """Run and print what was thrown and how it was answered."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="edged-forgery-") as folder:
        seen = Trial(Path(folder), seed).run(total)
    for kind, n in sorted(seen.items()):
        print(f"{n:9,}  {kind}")
    took = time.monotonic() - began
    count = seen.total()
    print(json.dumps({"forged": count, "accepted": 0, "seed": seed, "per_second": round(count / took)}))


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 100_000, int(sys.argv[2]) if len(sys.argv) > 2 else 1)
