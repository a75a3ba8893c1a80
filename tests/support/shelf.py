"""A catalogue to be read: the use case over snapshots that a test gives."""

from typing import Any

import msgspec

from junctor.domain.account import Actor, KeyScope
from junctor.domain.call import Snapshots
from junctor.usecases.catalog import CatalogReader, ModelFilter
from junctor.usecases.catalog_sight import SeenModel

MANAGER = Actor("A", "MANAGER", KeyScope.MANAGEMENT)
PAGES_MAX = 1_000


class Shelf:
    """A reader and what it reads; `snapshots` may be replaced."""

    def __init__(self, snapshots: Snapshots) -> None:
        self.snapshots = snapshots
        self.reader = CatalogReader(lambda: self.snapshots)

    @staticmethod
    def user(**allowed: Any) -> Actor:
        """Return who calls with a completion key that has these `allowed_models` and `allowed_providers`."""
        return Actor("A", "0123456789ab", KeyScope.COMPLETION, **allowed)

    async def models(self, actor: Actor = MANAGER, size: int = 100, **wanted: Any) -> list[SeenModel]:
        """Return all pages of a list of models."""
        found: list[SeenModel] = []
        token = ""
        for _ in range(PAGES_MAX):
            shown, token = await self.reader.models(actor, ModelFilter(**wanted), size, token)
            assert len(shown) <= size
            found += shown
            if not token:
                return found
        raise AssertionError("the list has no end")

    async def slugs(self, actor: Actor = MANAGER, size: int = 100, **wanted: Any) -> list[str]:
        """Return the slugs of a list of models."""
        return [seen.model.slug for seen in await self.models(actor, size, **wanted)]

    def with_models(self, **fields: Any) -> None:
        """Change a field of models: values by the slug's last part."""
        catalog = self.snapshots.catalog
        (field, values), *_ = fields.items()
        changed = {
            slug: msgspec.structs.replace(model, **{field: values[slug.split("/")[1]]})
            if slug.split("/")[1] in values
            else model
            for slug, model in catalog.models.items()
        }
        self.snapshots = msgspec.structs.replace(self.snapshots, catalog=msgspec.structs.replace(catalog, models=changed))
