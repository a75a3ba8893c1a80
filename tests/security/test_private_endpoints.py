"""SSRF by the operator's own endpoints: no spelling, name or redirect leads where the deployment's settings do not allow."""

import asyncio
import ssl
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from junctor.adapters.net.addresses import HostRule, Vetting
from junctor.adapters.net.errors import NeverSentError
from junctor.adapters.net.headers import prepared
from junctor.bootstrap import native
from junctor.client import JunctorRpcError
from junctor.client.admin import AdminClient, catalog_messages
from junctor.domain.account import KeyScope
from junctor.settings import Settings
from tests.support.certificates import self_signed
from tests.support.harness import running_router
from tests.support.scripted_upstream import ScriptedUpstream, chat_answer
from tests.support.transports import MAKERS

PLACES = {
    "169.254.169.254": (169, 254, 169, 254),
    "127.0.0.1": (127, 0, 0, 1),
    "10.0.0.1": (10, 0, 0, 1),
    "100.100.100.200": (100, 100, 100, 200),
    "192.168.1.1": (192, 168, 1, 1),
    "172.16.0.1": (172, 16, 0, 1),
}
RULES = (HostRule("10.200.0.0/16", 8000), HostRule("gpu.internal", 443))
"""What a deployment may list: none of it covers PLACES."""


def spellings(dotted: str, parts: tuple[int, int, int, int]) -> Iterator[str]:
    """Yield the ways in which some parser reads an address of IPv4."""
    a, b, c, d = parts
    number = (a << 24) + (b << 16) + (c << 8) + d
    yield from (dotted, str(number), hex(number), f"0{number:o}", f"{a}.{(b << 16) + (c << 8) + d}", f"{a}.{b}.{(c << 8) + d}")
    yield from (".".join(f"0{part:o}" for part in parts), ".".join(hex(part) for part in parts), f"{hex(a)}.{b}.0{c:o}.{d}")
    yield from (f"{dotted}.", f"00{dotted}", f"{a + 256}.{b}.{c}.{d}", dotted.replace(".", "。"), dotted.replace(".", "%2e"))
    yield from (f"[::ffff:{dotted}]", f"[::{dotted}]", f"[::ffff:{a:x}{b:02x}:{c:x}{d:02x}]", f"[64:ff9b::{dotted}]")
    yield from (f"[2002:{a:02x}{b:02x}:{c:02x}{d:02x}::1]", f"[0:0:0:0:0:ffff:{dotted}]", f"[::FFFF:{dotted}]", f"{dotted}%00")
    yield "".join(chr(0x2460 + int(digit) - 1) if digit not in ".0" else digit for digit in dotted)
    yield from (
        f"user@{dotted}",
        f"example.com@{dotted}",
        f"user:pass@{dotted}",
        f"example.com#@{dotted}",
        f"example.com\\@{dotted}",
    )
    yield from (
        f"{dotted}.nip.io",
        f"{dotted}:80@example.com",
        f" {dotted}",
        f"{dotted}\t",
        f"{dotted}\r\nHost: x",
        f"[{dotted}]",
    )


def hostile() -> list[str]:
    """Return the URLs that must be refused."""
    urls = [
        f"{scheme}://{host}/v1"
        for name, parts in PLACES.items()
        for host in spellings(name, parts)
        for scheme in ("http", "https")
    ]
    urls += [
        f"http://{host}/latest"
        for host in (
            "metadata.google.internal",
            "METADATA.google.internal",
            "metadata",
            "instance-data",
            "localhost",
            "LOCALHOST",
            "localhost.",
            "sub.localhost",
            "rebound.example",
            "half.example",
            "mapped.example",
            "gone.example",
            "ⓛocalhost",
            "loc%61lhost",
            "xn--",
            "-x.example",
            "x..example",
            "[::1]",
            "[::]",
            "[fe80::1%25eth0]",
            "[fe80::1]",
            "[fd00:ec2::254]",
            "[fd20:ce::254]",
            "[fc00::1]",
            "[ff02::1]",
            "[::1",
            "0",
            ".".join("0000"),
            "255.255.255.255",
            "224.0.0.1",
            "168.63.129.16",
            "192.0.0.192",
        )
    ]
    good = "https://public.example"
    urls += [
        f"{good}{tail}"
        for tail in (
            "?x=1",
            "#f",
            "/v1?",
            "/v1/",
            "/",
            "/../v1",
            "/./v1",
            "//v1",
            "/%2e%2e/v1",
            "/v1\\",
            "/v1 ",
            ":0",
            ":99999",
            ":",
        )
    ]
    urls += [
        "https://",
        "https:public.example",
        "//public.example",
        "ftp://public.example",
        "file:///etc/passwd",
        "gopher://public.example",
        "https:///v1",
    ]
    urls += [
        "https://user@public.example",
        "https://public.example:443:80",
        "HTTPS://public.example",
        "javascript:alert(1)",
        "unix:///run/x.sock",
        "",
    ]
    urls += [
        "http://public.example",
        "http://10.200.0.1:8001",
        "http://10.201.0.1:8000",
        "https://gpu.internal:444",
        "http://gpu.internal",
        "x" * 3_000,
    ]
    return urls


async def names(host: str, port: int) -> Sequence[str]:
    """Be a name server in an attacker's hands."""
    found = {
        "public.example": ["93.184.216.34"],
        "gpu.internal": ["10.200.0.1"],
        "localhost": ["127.0.0.1"],
        "sub.localhost": ["127.0.0.1"],
        "rebound.example": ["169.254.169.254"],
        "half.example": ["93.184.216.34", "127.0.0.1"],
        "mapped.example": ["::ffff:169.254.169.254"],
        **{f"{place}.nip.io": [place] for place in PLACES},
    }
    if host not in found:
        raise OSError(port)
    return found[host]


async def test_no_hostile_address_is_taken() -> None:
    """One spelling would be enough to read the machine's credentials, or to send prompts and keys to whoever asks."""
    urls = hostile()
    assert len(set(urls)) >= 200
    vetting = Vetting(RULES, names)
    assert [url for url in urls if await vetting.problem(url, resolved=True) is None] == []
    sound = ("https://public.example", "https://public.example:8443/v1", "http://10.200.3.4:8000/v1", "https://gpu.internal/v1")
    assert [url for url in sound if await vetting.problem(url, resolved=True) is not None] == []


@pytest.mark.parametrize("library", MAKERS)
async def test_a_rebound_name_is_not_connected_to(library: str) -> None:
    """A name that was judged well once would afterwards lead to a service of this machine."""
    answers = [["10.200.0.1"], ["127.0.0.1"]]

    async def turning(_host: str, _port: int) -> Sequence[str]:
        return answers.pop(0) if len(answers) > 1 else answers[0]

    async with ScriptedUpstream(chat_answer("leaked")) as inner:
        port = int(inner.base_url.split(":")[2].split("/")[0])
        vetting = Vetting([HostRule("10.200.0.0/16", port)], turning)
        url = f"http://turning.example:{port}/v1"
        assert await vetting.problem(url, resolved=True) is None
        vetting.watch(url)
        transport = MAKERS[library](None, vetting)
        try:
            by = asyncio.get_running_loop().time() + 5.0
            with pytest.raises(NeverSentError):
                await transport.post(f"{url}/chat/completions", prepared({}), b"{}", connect_by=by, answer_by=by)
        finally:
            await transport.close()
        assert inner.connections == 0


@pytest.mark.parametrize("library", MAKERS)
async def test_a_judged_name_is_connected_to_under_its_name(library: str) -> None:
    """The judged address would be asked as if it were another host, so a server of several could not tell which is meant."""

    async def local(_host: str, _port: int) -> Sequence[str]:
        return ["127.0.0.1"]

    async with ScriptedUpstream(chat_answer("well")) as inner:
        port = int(inner.base_url.split(":")[2].split("/")[0])
        vetting = Vetting([HostRule("127.0.0.1", port)], local)
        url = f"http://gpu.example:{port}/v1"
        vetting.watch(url)
        transport = MAKERS[library](None, vetting)
        try:
            by = asyncio.get_running_loop().time() + 5.0
            async with await transport.post(
                f"{url}/chat/completions", prepared({}), b"{}", connect_by=by, answer_by=by
            ) as answer:
                assert answer.status == 200
                await answer.whole(by)
        finally:
            await transport.close()
        assert inner.requests[0].headers["host"] == f"gpu.example:{port}"


@pytest.mark.parametrize("library", MAKERS)
@pytest.mark.parametrize(("certified", "answered"), [("gpu.example", True), ("other.example", False)])
async def test_a_judged_name_must_be_the_certificates(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, certified: str, answered: bool, library: str
) -> None:
    """Connecting to an address instead of a name would let any server with any certificate read prompts and keys."""
    asked: list[str | None] = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
        await writer.drain()
        writer.close()

    def named(_: object, name: str | None, _context: ssl.SSLContext) -> None:
        asked.append(name)

    async def local(_host: str, _port: int) -> Sequence[str]:
        return ["127.0.0.1"]

    context, trusted = self_signed(certified, tmp_path)
    context.sni_callback = named
    monkeypatch.setattr("certifi.where", lambda: str(trusted))
    server = await asyncio.start_server(handle, "127.0.0.1", 0, ssl=context)
    port = server.sockets[0].getsockname()[1]
    vetting = Vetting([HostRule("127.0.0.1", port)], local)
    url = f"https://gpu.example:{port}/v1"
    vetting.watch(url)
    transport = MAKERS[library](None, vetting)
    by = asyncio.get_running_loop().time() + 5.0
    try:
        if answered:
            async with await transport.post(f"{url}/x", prepared({}), b"{}", connect_by=by, answer_by=by) as answer:
                assert await answer.whole(by) == b"{}"
        else:
            with pytest.raises(NeverSentError):
                await transport.post(f"{url}/x", prepared({}), b"{}", connect_by=by, answer_by=by)
    finally:
        await transport.close()
        server.close()
    assert asked == ["gpu.example"]


async def test_only_an_operator_can_add_an_endpoint(tmp_path: Path) -> None:
    """A caller could have the router send requests, with its keys, wherever he likes."""
    async with running_router(tmp_path, {}) as router:
        admin = native.admin_server(router.core, Settings.from_environment({"JUNCTOR_ADMIN_LISTEN": "127.0.0.1:0"}))
        target = f"127.0.0.1:{await admin.start()}"
        manager = await router.core.accounts.create_api_key(router.account, "k", KeyScope.MANAGEMENT)
        try:
            for key in (router.api_key, manager):

                def ask(key: str = key) -> None:
                    with AdminClient(target, key) as client:
                        request = catalog_messages.SetPrivateEndpointRequest()
                        client.call(client.catalog.SetPrivateEndpoint, request, 5.0)

                with pytest.raises(JunctorRpcError) as caught:
                    await asyncio.to_thread(ask)
                assert caught.value.reason == "SCOPE_MISSING"
        finally:
            await admin.drain(5.0)
