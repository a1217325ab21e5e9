"""The control socket over a real Unix socket: rows, results, refusals, hostile and vanished clients."""

from __future__ import annotations

import asyncio
import json
import socket
import stat
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from edged import control
from edged.control import ControlClient, ControlServer, Refused
from edged.errors import EdgedError, NotRunning, StoreError

Call = Callable[[dict[str, Any]], Any]


async def rows(request: dict[str, Any]) -> AsyncIterator[dict[str, Any]]:
    for n in range(request.get("n", 3)):
        yield {"row": {"n": n}}


async def echo(request: dict[str, Any]) -> AsyncIterator[dict[str, Any]]:
    yield {"result": {"line": request.get("line")}}


async def refuse(_request: dict[str, Any]) -> AsyncIterator[dict[str, Any]]:
    yield {"row": {"n": 0}}
    raise StoreError("disk full; make room")


async def crash(request: dict[str, Any]) -> AsyncIterator[dict[str, Any]]:
    if request:
        raise RuntimeError("a mistake of ours")
    yield {}


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[ControlServer]:
    server = ControlServer(
        tmp_path / "run" / "control.sock", {"rows": rows, "echo": echo, "refuse": refuse, "crash": crash}
    )
    await server.start()
    yield server
    await server.close()


@pytest.fixture
def path(tmp_path: Path, server: ControlServer) -> Path:
    return tmp_path / "run" / "control.sock"


async def ask(path: Path, request: dict[str, Any]) -> list[dict[str, Any]]:
    return await asyncio.to_thread(lambda: list(ControlClient(path).call(request)))


async def raw(path: Path, *lines: bytes) -> list[dict[str, Any]]:
    reader, writer = await asyncio.open_unix_connection(str(path))
    writer.write(b"".join(lines))
    writer.write_eof()
    answer = await reader.read()
    writer.close()
    return [json.loads(line) for line in answer.splitlines()]


async def test_rows_come_in_order(path: Path) -> None:
    assert await ask(path, {"do": "rows"}) == [{"row": {"n": 0}}, {"row": {"n": 1}}, {"row": {"n": 2}}]


async def test_one_result(path: Path) -> None:
    line = "ç" * 1000
    assert await asyncio.to_thread(ControlClient(path).result, {"do": "echo", "line": line}) == {"line": line}


async def test_a_long_listing_reaches_a_slow_reader(path: Path) -> None:
    assert len(await ask(path, {"do": "rows", "n": 50_000})) == 50_000


async def test_an_edged_error_is_a_refusal_with_its_text(path: Path) -> None:
    with pytest.raises(Refused, match="disk full; make room") as refused:
        await ask(path, {"do": "refuse"})
    assert refused.value.code == "StoreError"


async def test_a_crash_is_reported_and_logged_and_the_next_request_works(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(Refused, match="its log says why"):
        await ask(path, {"do": "crash"})
    assert "a mistake of ours" in caplog.text
    assert len(await ask(path, {"do": "rows"})) == 3


@pytest.mark.parametrize(
    "line", [b"\x00\xff\xfe\n", b"[]\n", b'{"do": 3}\n', b'{"do": "dance"}\n', b"{}\n", b"[" * 9999 + b"\n"]
)
async def test_bad_requests_get_one_clear_answer_and_the_connection_goes_on(path: Path, line: bytes) -> None:
    bad, *good = await raw(path, line, b'{"do":"echo","line":"x"}\n')
    assert bad["ok"] is False
    assert bad["error"]["code"] == "malformed"
    assert good == [{"result": {"line": "x"}}, {"end": True, "ok": True}]


async def test_an_endless_line_ends_the_connection_only(path: Path) -> None:
    reader, writer = await asyncio.open_unix_connection(str(path))
    writer.write(b"x" * (control.MAX_LINE * 2 + 1))
    answer = json.loads(await reader.readline())
    assert answer["error"]["code"] == "malformed"
    writer.close()
    assert len(await ask(path, {"do": "rows"})) == 3


async def test_a_client_that_leaves_half_way_frees_the_handler(tmp_path: Path) -> None:
    freed = asyncio.Event()

    async def endless(_request: dict[str, Any]) -> AsyncIterator[dict[str, Any]]:
        try:
            while True:
                yield {"row": "x" * 4096}
        finally:
            freed.set()

    server = ControlServer(tmp_path / "c.sock", {"endless": endless})
    await server.start()
    reader, writer = await asyncio.open_unix_connection(str(tmp_path / "c.sock"))
    writer.write(b'{"do":"endless"}\n')
    await reader.readline()
    writer.close()
    await asyncio.wait_for(freed.wait(), 20)
    await server.close()


async def test_the_socket_is_for_owner_and_group_only(path: Path) -> None:
    assert stat.S_IMODE(path.stat().st_mode) == 0o660
    assert not path.with_name("control.sock.new").exists()


async def test_a_dead_daemons_socket_is_replaced_and_a_living_ones_is_not(path: Path, tmp_path: Path) -> None:
    with pytest.raises(EdgedError, match="another edged answers there"):
        await ControlServer(path, {}).start()
    stale = tmp_path / "stale.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(stale))
    server = ControlServer(stale, {"rows": rows})
    await server.start()
    assert len(await ask(stale, {"do": "rows"})) == 3
    await server.close()
    assert not stale.exists()


async def test_closing_lets_an_answer_under_way_finish(tmp_path: Path) -> None:
    begun, may_go = asyncio.Event(), asyncio.Event()

    async def slow(_request: dict[str, Any]) -> AsyncIterator[dict[str, Any]]:
        begun.set()
        await may_go.wait()
        yield {"result": {"stopped": True}}

    server = ControlServer(tmp_path / "c.sock", {"stop": slow})
    await server.start()
    asking = asyncio.create_task(ask(tmp_path / "c.sock", {"do": "stop"}))
    await begun.wait()
    closing = asyncio.create_task(server.close())
    may_go.set()
    assert await asking == [{"result": {"stopped": True}}]
    await closing


def test_nobody_there_is_not_running(tmp_path: Path) -> None:
    with pytest.raises(NotRunning, match="no daemon answers"):
        ControlClient(tmp_path / "none.sock").result({"do": "status"})


async def test_a_silent_daemon_is_an_error_with_the_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control, "FAREWELL", 0.1)

    async def silent(_request: dict[str, Any]) -> AsyncIterator[dict[str, Any]]:
        await asyncio.Event().wait()
        yield {}

    server = ControlServer(tmp_path / "c.sock", {"status": silent})
    await server.start()
    with pytest.raises(EdgedError, match=r"no answer for 0\.2 s"):
        await asyncio.to_thread(lambda: list(ControlClient(tmp_path / "c.sock").call({"do": "status"}, timeout=0.2)))
    await asyncio.wait_for(server.close(), 20)
