"""``make run``: the whole story on real packets, told step by step with measured times.

``python -m tests.lab.story [--keep]`` (or ``KEEP=1``) needs root. Exit status 0 when every step went as told, else 1.
With ``--keep`` the lab stays up afterwards and says what to try by hand.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import signal
import sys
import time

from rich.console import Console
from rich.markup import escape

from tests.lab.lab import CONFIG, GATEWAY, Lab, bind, edged_binary
from tests.lab.steps import STEPS, Story
from tests.lab.topology import BANK4, SITE_URL, WWW4, WWW6

TITLE_WIDTH = max(len(step.title) for step in STEPS)


def tell(lab: Lab, console: Console) -> int:
    """Play every step and print it. Returns how many failed."""
    story, failed, ended = Story(lab), 0, False
    try:
        for number, step in enumerate(STEPS, 1):
            began = time.monotonic()
            try:
                found, mark, colour = step.play(story), "✓", "green"
            except (AssertionError, OSError, RuntimeError) as error:
                found, mark, colour = f"{type(error).__name__}: {error}", "✗", "red"
                failed += 1
                ended = step.key == "start"
            seconds = time.monotonic() - began
            console.print(
                f"[{colour}]{mark}[/] {number:2} {escape(step.title):{TITLE_WIDTH}} [dim]{seconds:5.2f} s[/]  "
                f"{escape(found)}",
                highlight=False,
                soft_wrap=True,
            )
            if ended:
                break  # without a daemon the rest only waits in vain
    finally:
        story.close()
    if failed and lab.daemon_log():
        console.print(f"\nthe daemon's log:\n{lab.daemon_log()}", markup=False, highlight=False)
    return failed


def way_in(lab: Lab) -> str:
    """What a shell is told once, so that the session of docs/protocol.md can be typed as it stands there."""
    return f'{GATEWAY}() {{ {shlex.join(lab.network.gateway.prefix())} "$@"; }}'


def settle(lab: Lab) -> None:
    """The state in which ``keep`` leaves the lab: a daemon that runs, everybody bound."""
    if lab.daemon is None or lab.daemon.exit_status is not None:
        lab.start_daemon()
    lab.publish(*(bind(device.person) for device in (lab.debtor, lab.neighbour, lab.promiser)))


def keep(lab: Lab, console: Console) -> None:
    """Start the daemon anew, say what to try by hand, and wait for Ctrl-C."""
    settle(lab)
    net, sub = lab.network, lab.debtor.person.sub
    inside = {name: shlex.join(space.prefix()) for name, space in (("s", net.subscriber), ("g", net.gateway))}
    environment = " ".join(f"{key}={shlex.quote(value)}" for key, value in lab.overrides.items())
    edged = f"{environment} {edged_binary()}"

    def send(**command: str) -> str:
        return f"{inside['g']} mosquitto_pub -q 1 -t edged/v1/gw/{GATEWAY}/cmd -m '{json.dumps(command)}'"

    told = (
        ("the way in, for the session of docs/protocol.md", way_in(lab)),
        ("follow what the gateway says", f"{inside['g']} mosquitto_sub -v -t 'edged/v1/gw/{GATEWAY}/#'"),
        ("block", send(op="block", sub=sub, reason="debt")),
        ("a page, http", f"{inside['s']} curl -i http://{WWW4}/"),
        ("a page, https", f"{inside['s']} curl -ik https://{WWW4}/"),
        ("the same over IPv6", f"{inside['s']} curl -i 'http://[{WWW6}]/'"),
        ("the notice page", f"{inside['s']} curl -i {SITE_URL}"),
        ("the bank", f"{inside['s']} curl -ik https://{BANK4}/"),
        ("why", f"{edged} why {sub} --config {CONFIG}"),
        ("status", f"{edged} status --config {CONFIG}"),
        ("the kernel's rules", f"{inside['g']} nft list table inet edged"),
        ("paid", send(op="paid", sub=sub)),
        ("the daemon's log", f"tail -f {lab.directory / 'edged.log'}"),
    )
    console.print("\n[bold]The lab stays up.[/] Try, as root, in another terminal:\n")
    for what, command in told:
        console.print(f"  [dim]# {escape(what)}[/]\n  {escape(command)}", highlight=False, soft_wrap=True)
    console.print(f"\nEnd it with Ctrl-C here, or: kill {os.getpid()}")
    signal.pause()


def main() -> int:
    """Tell the story; see the module's text."""
    parser = argparse.ArgumentParser(prog="python -m tests.lab.story", description="edged's main job in a lab")
    parser.add_argument("--keep", action="store_true", help="leave the lab up afterwards (as KEEP=1 does)")
    wanted = parser.parse_args().keep or os.environ.get("KEEP", "") not in {"", "0"}
    console = Console()
    if os.geteuid() != 0:
        console.print("The lab makes network namespaces and needs root.", style="red")
        return 2
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    began, failed, finished = time.monotonic(), 0, False
    try:
        with Lab() as lab:
            failed = tell(lab, console)
            seconds = time.monotonic() - began
            verdict = f"[red]{failed} of {len(STEPS)} steps failed[/]" if failed else f"all {len(STEPS)} steps hold"
            console.print(f"\n[bold]{verdict}[/], {seconds:.1f} s in all", highlight=False)
            finished = True
            if wanted:
                keep(lab, console)
    except KeyboardInterrupt:
        if not finished:
            console.print("interrupted; the lab is taken down", style="red")
            return 130
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
