"""CatalogService on a real server: the packaged catalogue page by page, on both listeners, and for keys that may use a part."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from junctor.bootstrap import native
from junctor.client import AsyncClient, JunctorRpcError, ModelSort
from junctor.client.admin import AdminClient, messages
from junctor.domain.account import KeyScope
from junctor.settings import Settings
from tests.support.harness import Router, running_router
from tests.support.pipeline import FIRST, MODEL, SECOND, refusal

SINK = "http://127.0.0.1:1/v1"
NOT_HERE = {"NOT_RUNNING", "DIALECT_UNSUPPORTED", "CREDENTIALS_MISSING", "PRICE_UNKNOWN"}


async def every(client: AsyncClient, **fields: Any) -> list[str]:
    """Return the slugs of a list of models."""
    return [model.slug async for model in client.catalog.list_models(**fields)]


async def test_the_catalogue_is_read_page_by_page(tmp_path: Path) -> None:
    """A client would see a part of what there is, or something else than routing sees."""
    async with running_router(tmp_path, {}) as router, router.client() as client:
        catalog = router.core.catalog.current()
        whole = await every(client, page_size=1_000)
        assert whole == sorted(catalog.models)
        assert await every(client, page_size=200) == whole
        cheap = await every(client, page_size=1_000, sort=ModelSort.MODEL_SORT_PRICE, reachable_only=True)
        assert cheap == await every(client, page_size=50, sort=ModelSort.MODEL_SORT_PRICE, reachable_only=True)
        assert 0 < len(cheap) < len(whole)
        version = await client.catalog.get_version()
        assert (version.version, version.model_count) == (catalog.version, len(whole))
        providers = [provider async for provider in client.catalog.list_providers(page_size=50)]
        assert [provider.slug for provider in providers] == sorted(catalog.providers)
        assert sum(provider.endpoint_count for provider in providers) == version.endpoint_count


async def test_endpoints_are_as_explain_has_them(tmp_path: Path) -> None:
    """A person would be told of an endpoint what his calls do not find there."""
    async with running_router(tmp_path, {FIRST: SINK, SECOND: SINK}) as router, router.client() as client:
        found = [endpoint async for endpoint in client.catalog.list_endpoints(MODEL)]
        plan = await client.explain("Hi", model=MODEL)
        told = {row.endpoint: "" for row in plan.candidates} | {row.endpoint: row.reason for row in plan.excluded}
        assert {endpoint.id: endpoint.unreachable_reason for endpoint in found} == told
        assert {endpoint.id for endpoint in found if endpoint.reachable} == {FIRST, SECOND}
        assert {endpoint.unreachable_reason for endpoint in found if not endpoint.reachable} <= NOT_HERE
        model = await client.catalog.get_model(MODEL)
        assert (model.endpoint_count, model.reachable_endpoint_count) == (len(found), 2)
        first = next(endpoint for endpoint in found if endpoint.id == FIRST)
        card = router.core.catalog.current().prices[FIRST][0]
        assert (first.price.parts.input, first.price.version) == (card.parts.input, card.version)
        assert first.price.HasField("age_days")


async def limited_key(router: Router, models: list[str], providers: list[str]) -> str:
    """Make a completion key that may use these only."""
    admin = native.admin_server(router.core, Settings.from_environment({"JUNCTOR_ADMIN_LISTEN": "127.0.0.1:0"}))
    target = f"127.0.0.1:{await admin.start()}"
    operator = await router.core.accounts.create_api_key("", "operator", KeyScope.OPERATOR)
    request = messages.CreateApiKeyRequest(
        organisation=router.account,
        name="limited",
        scope=messages.API_KEY_SCOPE_COMPLETION,
        allowed_models=messages.AllowList(names=models),
        allowed_providers=messages.AllowList(names=providers),
    )

    def make() -> str:
        with AdminClient(target, operator) as client:
            return client.call(client.account.CreateApiKey, request).secret

    try:
        return await asyncio.to_thread(make)
    finally:
        await admin.drain(1.0)


async def test_a_key_is_shown_what_it_may_use(tmp_path: Path) -> None:
    """A team would build on a model that refuses it."""
    async with running_router(tmp_path, {FIRST: SINK, SECOND: SINK}) as router:
        key = await limited_key(router, [MODEL, "openai/gpt-4o-mini"], ["groq"])
        async with router.client(key) as client:
            assert await every(client) == [MODEL]
            assert [endpoint.id async for endpoint in client.catalog.list_endpoints(MODEL)] == [FIRST]
            assert [provider.slug async for provider in client.catalog.list_providers()] == ["groq"]
            refused = await refusal(client.catalog.get_model("openai/gpt-4o-mini"))
            assert refused.reason == "MODEL_NOT_ALLOWED"


async def test_managers_read_it_where_they_manage(tmp_path: Path) -> None:
    """An operator would need another kind of key to see which credential is missing."""
    async with running_router(tmp_path, {}) as router:
        admin = native.admin_server(router.core, Settings.from_environment({"JUNCTOR_ADMIN_LISTEN": "127.0.0.1:0"}))
        target = f"127.0.0.1:{await admin.start()}"
        try:
            for scope, account in ((KeyScope.OPERATOR, ""), (KeyScope.MANAGEMENT, router.account)):
                key = await router.core.accounts.create_api_key(account, "k", scope)
                for where in (target, router.target):
                    async with AsyncClient(where, key) as client:
                        assert (await client.catalog.get_version()).model_count > 0
        finally:
            await admin.drain(1.0)


async def test_what_cannot_be_answered_is_refused_by_its_field(tmp_path: Path) -> None:
    """A slip would be answered with an empty list, or with an error that says nothing."""
    async with running_router(tmp_path, {}) as router, router.client() as client:
        missing = await refusal(client.catalog.get_model("openai/gpt-oss-120"))
        assert (missing.reason, MODEL in missing.metadata["near"]) == ("MODEL_NOT_FOUND", True)
        for field, asked in (
            ("sort", {"sort": ModelSort.MODEL_SORT_POPULARITY}),
            ("page_size", {"page_size": 1_001}),
            ("providers[0]", {"providers": ["nobody"]}),
            ("parameters[0]", {"parameters": ["telepathy"]}),
        ):
            with pytest.raises(JunctorRpcError) as refused:
                await every(client, **asked)
            assert (refused.value.reason, [name for name, _ in refused.value.field_violations]) == ("INVALID_FIELD", [field])
