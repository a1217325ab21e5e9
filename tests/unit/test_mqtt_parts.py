"""The bounded inbox and the book of troubles, without a broker."""

from __future__ import annotations

import asyncio
import logging

import pytest

from edged.errors import EdgedError
from edged.mqtt import inbox as inbox_module
from edged.mqtt.inbox import MESSAGE_BYTES, Inbox
from edged.mqtt.message import Delivery, Inbound, LinkLost, Overrun
from edged.mqtt.trouble import HandlerFault, Trouble


def message(number: int, size: int = 0) -> Delivery:
    return Delivery(Inbound("t", b"x" * size, None, None, 0.0), number, 1)


def numbers(deliveries: list[Delivery]) -> list[int]:
    return [delivery.mid for delivery in deliveries]


async def test_what_is_held_is_bounded_in_bytes_and_the_rest_comes_on_a_new_connection(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(inbox_module, "HELD_BYTES", 4 * (1_000_000 + MESSAGE_BYTES))
    inbox = Inbox()
    for number in range(4):
        inbox.put(message(number, size=1_000_000))
    inbox.put(message(4))  # beyond: dropped, and everything behind it
    await inbox.wait()
    first = inbox.take(3)
    inbox.release(first)
    inbox.put(message(5))
    rest = inbox.take(64)
    assert numbers(first + rest) == [0, 1, 2, 3]
    inbox.release(rest)
    assert inbox.held == 0
    with pytest.raises(Overrun):
        await inbox.wait()


async def test_the_largest_messages_that_a_broker_sends_stay_below_the_bound() -> None:
    inbox = Inbox()
    for number in range(64):
        inbox.put(message(number, size=6 << 20))
    assert inbox.held <= 64 << 20
    assert numbers(inbox.take(64)) == [0]  # 8 MiB a call
    assert numbers(inbox.take(64)) == [1]


async def test_one_message_is_kept_whatever_its_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inbox_module, "HELD_BYTES", 100)
    monkeypatch.setattr(inbox_module, "GATHER_BYTES", 100)
    inbox = Inbox()
    inbox.put(message(0, size=1000))
    inbox.put(message(1, size=1000))
    assert numbers(inbox.take(64)) == [0]


async def test_small_messages_are_kept_and_taken_by_the_number() -> None:
    inbox = Inbox()
    for number in range(1000):
        inbox.put(message(number))
    assert numbers(inbox.take(64)) == list(range(64))
    assert numbers(inbox.take(1000)) == list(range(64, 1000))


async def test_waiting_ends_with_a_message_or_a_wake() -> None:
    inbox = Inbox()
    waiting = asyncio.create_task(inbox.wait())
    await asyncio.sleep(0)
    inbox.wake()
    await waiting
    assert inbox.take(1) == []
    waiting = asyncio.create_task(inbox.wait())
    await asyncio.sleep(0)
    inbox.put(message(1))
    await waiting
    assert numbers(inbox.take(1)) == [1]


def test_the_back_off_doubles_from_half_a_second_to_thirty_with_jitter() -> None:
    spread = []
    for _ in range(200):
        trouble = Trouble("edged-gw1")
        delays = [trouble.delay() for _ in range(12)]
        assert all(0.5 <= delay <= 30 for delay in delays)
        assert all(low <= delay <= 2 * low for low, delay in zip((0.5, 1, 2, 4, 8, 15, 15), delays, strict=False))
        spread.append(delays[0])
        trouble.settled()
        assert trouble.delay() <= 1
    assert max(spread) - min(spread) > 0.25


def test_each_reason_is_logged_once_until_settled(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    trouble = Trouble("edged-gw1")
    for _ in range(3):
        trouble.failed("a:1883", LinkLost("refused"), worked=False)
        trouble.failed("b:1883", LinkLost("unreachable"), worked=False)
    assert len(caplog.records) == 2
    assert trouble.errors == ["a:1883: refused", "b:1883: unreachable"]
    trouble.settled()
    assert trouble.errors == []
    trouble.failed("a:1883", LinkLost("refused"), worked=False)
    assert len(caplog.records) == 3


def test_an_unexpected_error_is_named_by_kind_and_place_never_by_its_text(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    trouble = Trouble("edged-gw1")
    try:
        raise KeyError("C-7")
    except KeyError as exc:
        trouble.failed("a:1883", exc, worked=True)
        trouble.failed("a:1883", HandlerFault(exc), worked=True)
    assert "KeyError at test_an_unexpected_error" in caplog.text
    assert "C-7" not in caplog.text
    assert trouble.careful


def test_what_the_broker_refused_is_remembered_beside_the_loss_it_led_to() -> None:
    trouble = Trouble("edged-gw1")
    trouble.complain("a:1883", "the broker refused one of our messages: not authorized")
    trouble.failed("a:1883", LinkLost("connection lost"), worked=True)
    assert trouble.errors == [
        "a:1883: connection lost; before that, the broker refused one of our messages: not authorized"
    ]


def test_another_client_is_suspected_only_where_the_broker_stayed_up() -> None:
    def last_of(*worked: bool) -> str:
        trouble = Trouble("edged-gw1")
        for each in worked:
            trouble.failed("a:1883", EdgedError("closed"), worked=each)
            trouble.delay()
        return trouble.errors[-1]

    assert "another client using the client id edged-gw1" in last_of(True, True, True)
    assert "another client" not in last_of(True, False, False, True), "it was killed, and came back"
    assert "another client" not in last_of(True, False, True, True)
