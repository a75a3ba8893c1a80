"""TLS and mTLS of both listeners, from the files of the settings to the clients, and what is told of files that are no good."""

import asyncio
import errno
import io
import json
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

import grpc
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_reflection.v1alpha.reflection_pb2 import ServerReflectionRequest, ServerReflectionResponse

from junctor.adapters.system.ambient import SystemClock
from junctor.adapters.telemetry.lines import LineTelemetry
from junctor.bootstrap import native, telling, tls
from junctor.bootstrap.problems import Problem
from junctor.bootstrap.stop import Stop
from junctor.cli.main import main
from junctor.client import AsyncClient
from junctor.client.admin import AdminClient, messages
from junctor.domain.account import KeyScope
from junctor.settings import Address, Settings
from tests.support.certificates import Authority, Pair, with_passphrase
from tests.support.child import child
from tests.support.harness import Router
from tests.support.pipeline import MODEL, PATIENCE_S, log_lines, one_endpoint, refusal
from tests.support.scripted_upstream import chat_answer

OURS, OTHERS = Authority("ours"), Authority("others")


class Site(NamedTuple):
    """A router whose listeners speak TLS, its files, and where they listen."""

    router: Router
    folder: Path
    target: str
    admin_target: str

    def client(self, trusted: bytes = OURS.certificate, shown: Pair | None = None) -> AsyncClient:
        """Return a client that trusts an authority and shows a certificate."""
        return AsyncClient(self.target, self.router.api_key, tls=trusted, certificate=shown)

    async def manage(self, key: str, shown: Pair | None = None) -> object:
        """Ask the control plane for something."""

        def ask() -> object:
            with AdminClient(self.admin_target, key, tls=OURS.certificate, certificate=shown) as client:
                return client.call(client.account.ListOrganisations, messages.ListOrganisationsRequest(), PATIENCE_S)

        return await asyncio.to_thread(ask)


def _files(folder: Path, pair: Pair) -> dict[str, str]:
    """Write a certificate and its key, and return the settings that name them."""
    pair.write(folder / "cert.pem", folder / "key.pem")
    return {"JUNCTOR_TLS_CERT": str(folder / "cert.pem"), "JUNCTOR_TLS_KEY": str(folder / "key.pem")}


def _authority(folder: Path, authority: Authority, setting: str = "TLS_CLIENT_CA") -> dict[str, str]:
    path = folder / "clients.pem"
    path.write_bytes(authority.certificate)
    return {f"JUNCTOR_{setting}": str(path)}


@asynccontextmanager
async def _site(folder: Path, **settings: str) -> AsyncGenerator[Site, None]:
    free = {"JUNCTOR_LISTEN": "127.0.0.1:0", "JUNCTOR_ADMIN_LISTEN": "127.0.0.1:0"}
    chosen = Settings.from_environment({**free, **_files(folder, OURS.issue()), **settings})
    answers = [chat_answer("Hi.")] * 8
    async with one_endpoint(folder / "data", *answers) as (router, _), native.listening(router.core, chosen) as listening:
        try:
            yield Site(router, folder, f"127.0.0.1:{listening.port}", f"127.0.0.1:{listening.admin_port}")
        finally:
            await listening.drain(Stop(), PATIENCE_S)


async def _answers(client: AsyncClient) -> bool:
    async with client:
        return bool((await client.complete("Hi", model=MODEL, timeout_s=PATIENCE_S)).choices)


async def _is_refused(client: AsyncClient) -> bool:
    async with client:
        return (await refusal(client.complete("Hi", model=MODEL, timeout_s=PATIENCE_S))).code == "UNAVAILABLE"


async def test_both_listeners_speak_tls_and_nothing_else(tmp_path: Path) -> None:
    """Else prompts and keys go over the network in plain text though the operator set a certificate."""
    async with _site(tmp_path, JUNCTOR_REFLECTION="on") as site:
        operator = await site.router.core.accounts.create_api_key("", "operator", KeyScope.OPERATOR)
        assert await _answers(site.client())
        assert await site.manage(operator)
        assert await _is_refused(AsyncClient(site.target, site.router.api_key))
        assert await _is_refused(site.client(OTHERS.certificate))
        async with grpc.aio.secure_channel(site.target, grpc.ssl_channel_credentials(OURS.certificate)) as channel:
            assert await _is_healthy(channel)
            assert "junctor.v1.RouterService" in await _reflected(channel)


async def _is_healthy(channel: grpc.aio.Channel) -> bool:
    check = channel.unary_unary(
        "/grpc.health.v1.Health/Check",
        request_serializer=HealthCheckRequest.SerializeToString,
        response_deserializer=HealthCheckResponse.FromString,
    )
    return (await check(HealthCheckRequest(), timeout=PATIENCE_S)).status == HealthCheckResponse.SERVING


async def _reflected(channel: grpc.aio.Channel) -> set[str]:
    reflect = channel.stream_stream(
        "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
        request_serializer=ServerReflectionRequest.SerializeToString,
        response_deserializer=ServerReflectionResponse.FromString,
    )
    call = reflect(iter([ServerReflectionRequest(list_services="")]), timeout=PATIENCE_S)
    return {service.name for service in (await anext(aiter(call))).list_services_response.service}


async def test_clients_without_a_certificate_of_ours_are_refused_at_the_handshake(tmp_path: Path) -> None:
    """Else whoever has a stolen API key can use it from anywhere."""
    async with _site(tmp_path, **_authority(tmp_path, OURS)) as site:
        ours, theirs = OURS.issue("service"), OTHERS.issue("service")
        assert await _answers(site.client(shown=ours))
        for shown in (None, theirs):
            assert await _is_refused(site.client(shown=shown))
        assert log_lines(site.router, "request")[-1]["status"] == "OK"
        assert len(log_lines(site.router, "request")) == 1
        operator = await site.router.core.accounts.create_api_key("", "operator", KeyScope.OPERATOR)
        assert await site.manage(operator, ours)
        with pytest.raises(Exception, match="UNAVAILABLE"):
            await site.manage(operator)


async def test_managers_alone_may_need_a_certificate(tmp_path: Path) -> None:
    """Else services that call models need certificates so that managers must have them."""
    async with _site(tmp_path, **_authority(tmp_path, OURS, "ADMIN_TLS_CLIENT_CA")) as site:
        operator = await site.router.core.accounts.create_api_key("", "operator", KeyScope.OPERATOR)
        assert await _answers(site.client())
        assert await site.manage(operator, OURS.issue("manager"))
        with pytest.raises(Exception, match="UNAVAILABLE"):
            await site.manage(operator)


async def test_renewed_files_are_taken_up(tmp_path: Path) -> None:
    """Else a service ends when its certificate does, or must be started again for each; or a bad file takes it down."""
    async with _site(tmp_path, **_authority(tmp_path, OURS)) as site, site.client(shown=OURS.issue()) as standing:
        assert (await standing.complete("Hi", model=MODEL)).choices
        _files(tmp_path, OTHERS.issue())
        assert await _answers(site.client(OTHERS.certificate, OURS.issue()))
        assert await _is_refused(site.client(OURS.certificate, OURS.issue()))
        assert (await standing.complete("Hi", model=MODEL)).choices
        (tmp_path / "cert.pem").write_bytes(OURS.issue().certificate)
        for _ in range(2):
            assert await _answers(site.client(OTHERS.certificate, OURS.issue()))
        (tmp_path / "cert.pem").unlink()
        assert await _answers(site.client(OTHERS.certificate, OURS.issue()))
        _files(tmp_path, OURS.issue())
        _authority(tmp_path, OTHERS)
        assert await _answers(site.client(OURS.certificate, OTHERS.issue()))
        assert await _is_refused(site.client(OURS.certificate, OURS.issue()))
        told = [line for line in log_lines(site.router, "event") if "certificate" in line["event"]]
    assert [line["event"].partition(":")[0] for line in told if line["fields"]["listener"] == "127.0.0.1:0"] == [
        "a renewed certificate is in force",
        "the certificate in force stays",
        "the certificate in force stays",
        "a renewed certificate is in force",
    ]


def test_files_that_become_readable_are_taken_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a certificate runs out whose renewed key was given its owner a moment after it was written."""
    told: list[str] = []
    cert, key = (tls.TlsFile(name, Path(path)) for name, path in _files(tmp_path, OURS.issue()).items())
    renewal = tls.Renewal(tls.TlsFiles(cert, key, None), told.append)
    _files(tmp_path, OURS.issue())

    def refuse(_: Path) -> bytes:
        raise PermissionError(errno.EACCES, "")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "read_bytes", refuse)
        assert renewal() is None
    assert renewal() is None
    (tmp_path / "key.pem").chmod(0o600)
    assert renewal() is not None
    assert [line.rpartition(": ")[2] for line in told] == ["permission denied", "a renewed certificate is in force"]


def _rsa(_: Path) -> bytes:
    key = rsa.generate_private_key(65537, 2048)
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())


WRONG: dict[str, tuple[str, Callable[[Path], bytes | None], str]] = {
    "no certificate file": ("cert.pem", lambda _: None, "JUNCTOR_TLS_CERT: {}: no such file or directory"),
    "no certificate": ("cert.pem", lambda _: b"made-up", "JUNCTOR_TLS_CERT: {}: no certificates in PEM"),
    "cut": ("cert.pem", lambda path: path.read_bytes()[:-80], "JUNCTOR_TLS_CERT: {}: no certificates in PEM"),
    "no key file": ("key.pem", lambda _: None, "JUNCTOR_TLS_KEY: {}: no such file or directory"),
    "no key": ("key.pem", lambda _: b"", "JUNCTOR_TLS_KEY: {}: no private key in PEM without a passphrase"),
    "passphrase": (
        "key.pem",
        lambda _: with_passphrase(OURS.issue()),
        "JUNCTOR_TLS_KEY: {}: no private key in PEM without a passphrase",
    ),
    "another's key": (
        "key.pem",
        lambda _: OURS.issue().key,
        "JUNCTOR_TLS_KEY: {}: not the key of the certificate of JUNCTOR_TLS_CERT",
    ),
    "another kind of key": ("key.pem", _rsa, "JUNCTOR_TLS_KEY: {}: not the key of the certificate of JUNCTOR_TLS_CERT"),
    "no authority file": ("clients.pem", lambda _: None, "JUNCTOR_TLS_CLIENT_CA: {}: no such file or directory"),
    "no authority": ("clients.pem", lambda _: OURS.issue().key, "JUNCTOR_TLS_CLIENT_CA: {}: no certificates in PEM"),
}


@pytest.mark.parametrize(("name", "change", "line"), WRONG.values(), ids=WRONG)
def test_files_that_cannot_be_used_are_told_in_one_line(
    tmp_path: Path, name: str, change: Callable[[Path], bytes | None], line: str
) -> None:
    """Else an operator looks for the mistake in whatever a library says of it, or finds a piece of his key in the log."""
    settings = Settings.from_environment({**_files(tmp_path, OURS.issue()), **_authority(tmp_path, OURS)})
    path = tmp_path / name
    data = change(path)
    path.unlink()
    if data is not None:
        path.write_bytes(data)
    with pytest.raises(Problem) as caught:
        tls.credentials(settings, print)
    assert str(caught.value) == line.format(path)


async def test_a_server_does_not_start_on_wrong_files(tmp_path: Path) -> None:
    """Else it listens in plain text, or dies with a page of code."""
    settings = {"JUNCTOR_STORE": "sqlite", **_files(tmp_path, OURS.issue())}
    (tmp_path / "key.pem").write_bytes(OURS.issue().key)
    async with child("serve", tmp_path / "data", settings) as running:
        assert await running.ended() == 1
    assert [line for line in running.lines if not line.startswith("{")] == [
        f"JUNCTOR_TLS_KEY: {tmp_path / 'key.pem'}: not the key of the certificate of JUNCTOR_TLS_CERT"
    ]
    assert not [line for line in running.lines if "listening" in line]


async def test_a_stranger_who_speaks_no_tls_writes_no_line_of_the_log(tmp_path: Path) -> None:
    """Else whoever reaches the port fills a log that is to be JSON with lines that are none."""
    async with child("serve", tmp_path / "data", {"JUNCTOR_STORE": "sqlite", **_files(tmp_path, OURS.issue())}) as running:
        listening = json.loads(await running.line_with('"listening"'))["fields"]
        for _ in range(3):
            reader, writer = await asyncio.open_connection(listening["host"], listening["port"])
            writer.write(b"GET / HTTP/1.1\r\n\r\n")
            async with asyncio.timeout(PATIENCE_S):
                await reader.read()
            writer.close()
        assert await running.terminate() == 0
    assert [line for line in running.lines if not line.startswith("{")] == []


HERE, EVERYWHERE = Address("127.0.0.1", 50052), Address("0.0.0.0", 50051)  # noqa: S104 - it is what is warned of


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({}, ()),
        ({"LISTEN": "localhost:1", "ADMIN_LISTEN": "[::1]:2"}, ()),
        ({"LISTEN": "0.0.0.0:50051"}, (EVERYWHERE,)),
        ({"LISTEN": "0.0.0.0:50051", "ADMIN_LISTEN": "10.0.0.7:2"}, (EVERYWHERE, Address("10.0.0.7", 2))),
        ({"LISTEN": "[::]:1"}, (Address("::", 1),)),
        ({"LISTEN": "0.0.0.0:50051", "PLAIN_TEXT": "on"}, ()),
        ({"LISTEN": "0.0.0.0:50051", "TLS_CERT": "/c", "TLS_KEY": "/k"}, ()),
    ],
)
def test_plain_text_beyond_this_machine_is_told(settings: dict[str, str], told: tuple[Address, ...]) -> None:
    """Else nobody learns that keys and prompts are readable on the way; or an operator with a balancer is told every day."""
    parsed = Settings.from_environment({f"JUNCTOR_{name}": value for name, value in settings.items()})
    assert telling.exposed(parsed) == told
    log = io.StringIO()
    telling.tell_listening(LineTelemetry(log, SystemClock()), parsed, 1, 2)
    assert log.getvalue().count("plain text beyond this machine: set JUNCTOR_TLS_CERT") == len(told)


async def _run(*words: str) -> int:
    """Run a command in a thread, as the servers need the loop."""
    return await asyncio.to_thread(main, words)


async def test_commands_speak_tls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Else whoever secures a router can no longer use the command line with it."""
    shown = OURS.issue("me")
    shown.write(tmp_path / "me.pem", tmp_path / "me.key")
    (tmp_path / "ca.pem").write_bytes(OURS.certificate)
    (tmp_path / "no.pem").write_bytes(b"made-up")
    ca, cert, key = (str(tmp_path / name) for name in ("ca.pem", "me.pem", "me.key"))
    async with _site(tmp_path, **_authority(tmp_path, OURS)) as site:
        monkeypatch.setenv("JUNCTOR_API_KEY", site.router.api_key)
        operator = await site.router.core.accounts.create_api_key("", "operator", KeyScope.OPERATOR)
        monkeypatch.setenv("JUNCTOR_ADMIN_KEY", operator)
        reach = ("--target", site.target, "--ca", ca)
        show = ("--cert", cert, "--cert-key", key)
        assert await _run("chat", "--no-stream", "--model", MODEL, *reach, *show, "Hi") == 0
        assert "Hi." in capsys.readouterr().out
        other = tmp_path / "other.pem"
        other.write_bytes(OTHERS.certificate)
        for words, said in (
            (("--target", site.target), "it may need TLS (--ca), or a certificate (--cert)"),
            (reach, "it may need TLS (--ca), or a certificate (--cert)"),
            (("--target", site.target, "--ca", str(other)), "a certificate that --ca does not trust"),
        ):
            assert await _run("usage", "list", *words) == 1
            assert said in capsys.readouterr().err
        for name, value in (("CA", ca), ("CERT", cert), ("KEY", key)):
            monkeypatch.setenv(f"JUNCTOR_TARGET_{name}", value)
        monkeypatch.setenv("JUNCTOR_TARGET", site.target)
        assert await _run("usage", "list") == 0
        assert await _run("orgs", "list", "--target", site.admin_target) == 0
        capsys.readouterr()
        for words, said in (
            (("--ca", str(tmp_path / "no.pem")), "no.pem does not hold certificates, or"),
            (("--ca", str(tmp_path / "none.pem")), "none.pem cannot be read"),
            (("--cert", ca), "does not hold certificates, or"),
        ):
            assert await _run("models", *words) == 2
            (line,) = capsys.readouterr().err.splitlines()
            assert said in line


@pytest.mark.parametrize("given", [("--cert", "x"), ("--cert-key", "x"), ("--cert", "x", "--cert-key", "x")])
async def test_half_of_tls_is_wrong_use(given: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    """Else a command goes over plain text though its user gave a certificate."""
    assert await _run("models", *given) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "give --c" in line


@pytest.mark.parametrize("wrong", [{"tls": b"made-up"}, {"certificate": (b"a", b"b")}])
def test_a_client_that_cannot_speak_tls_is_not_made(wrong: dict[str, bytes | tuple[bytes, bytes]]) -> None:
    """Else a service learns that its settings are wrong from a call that never connects."""
    with pytest.raises(ValueError, match="tls"):
        AdminClient("127.0.0.1:1", "jk-made-up", **wrong)  # type: ignore[arg-type]
