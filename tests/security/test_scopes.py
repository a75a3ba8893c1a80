"""Every method of every service, and whose keys it takes: who completes never manages, and who manages never completes."""

from pathlib import Path

import grpc

from junctor.bootstrap import native
from junctor.bootstrap.core import Core
from junctor.domain.account import KeyScope
from junctor.settings import Settings
from tests.support.harness import running_router
from tests.support.pipeline import PATIENCE_S, bearer
from tests.support.scopes import OPERATOR, SERVICES, allowed


async def status(target: str, path: str, key: str, *, streamed: bool) -> tuple[str, str]:
    """Call a method with an empty request, and return its status and its details."""
    async with grpc.aio.insecure_channel(target) as channel:
        try:
            if streamed:
                stream: grpc.aio.UnaryStreamMultiCallable[bytes, bytes] = channel.unary_stream(path)
                async for _ in stream(b"", metadata=bearer(key), timeout=PATIENCE_S):
                    pass
            else:
                unary: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(path)
                await unary(b"", metadata=bearer(key), timeout=PATIENCE_S)
        except grpc.aio.AioRpcError as error:
            details = dict(error.trailing_metadata() or ()).get("grpc-status-details-bin", b"")
            return error.code().name, repr(details)
    return "OK", ""


async def key_of(core: Core, account: str, scope: KeyScope) -> str:
    """Make a key of a scope."""
    return await core.accounts.create_api_key("" if scope is OPERATOR else account, "k", scope)


async def test_every_method_takes_the_keys_that_are_meant_for_it_and_no_others(tmp_path: Path) -> None:
    """A key that leaked out of a service could manage, or one that was made to manage could spend."""
    async with running_router(tmp_path, {}) as router:
        admin = native.admin_server(router.core, Settings.from_environment({"JUNCTOR_ADMIN_LISTEN": "127.0.0.1:0"}))
        control = f"127.0.0.1:{await admin.start()}"
        try:
            texts = {scope: await key_of(router.core, router.account, scope) for scope in KeyScope}
            for service in SERVICES.values():
                targets = {"RouterService": [router.target], "AccountService": [control], "CatalogAdminService": [control]}.get(
                    service.name, [router.target, control]
                )
                for method in service.methods:
                    for scope, text in texts.items():
                        for target in targets:
                            path = f"/{service.full_name}/{method.name}"
                            code, details = await status(target, path, text, streamed=method.server_streaming)
                            refused = (code, "SCOPE_MISSING" in details) == ("PERMISSION_DENIED", True)
                            assert refused is (scope not in allowed(service.name, method.name)), (path, scope, code, details)
                            assert code not in {"UNAUTHENTICATED", "UNKNOWN", "INTERNAL"}, path
        finally:
            await admin.drain(5.0)


async def test_the_data_plane_does_not_serve_the_control_plane(tmp_path: Path) -> None:
    """Whoever reaches the port that calls come in at could try management keys there."""
    async with running_router(tmp_path, {}) as router:
        text = await key_of(router.core, router.account, OPERATOR)
        for method in SERVICES["AccountService"].methods:
            path = f"/{SERVICES['AccountService'].full_name}/{method.name}"
            assert (await status(router.target, path, text, streamed=False))[0] == "UNIMPLEMENTED"


def test_these_are_all_services() -> None:
    """A new service would have no row here."""
    protos = Path(__file__).parents[2] / "protos"
    declared = {
        line.split()[1]
        for path in protos.rglob("*.proto")
        for line in path.read_text("utf-8").splitlines()
        if line.startswith("service ")
    }
    assert declared == set(SERVICES)
