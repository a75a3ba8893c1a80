"""Which model is it? From a host's own id to the canonical slug `author/name`, or to nothing.

A slug is canonical if OpenRouter has sold under it, if a lab lists it as its own, or if a host writes it in Hugging Face's
form with an author who is known here. Ids are compared without case and punctuation. What hosts add is taken off one thing at
a time, and the first form that is known wins: a cloud's region, vendor and version; number formats and serving words; the
author's name within the name; `instruct` and its like; a date, at the very end.

It refuses to guess: siblings that cost otherwise (`-fast`, `-highspeed`) keep their names, floating names (`-latest`) are no
models, and a name that two authors share is nobody's without its author.
"""

import re
from collections.abc import Iterable, Iterator
from typing import Final

from msgspec import Struct

from junctor.domain.catalog import Quantization

AUTHORS: Final = {
    "01-ai": "01-ai",
    "ai21": "ai21",
    "ai21labs": "ai21",
    "alibaba": "qwen",
    "alibaba-nlp": "alibaba-nlp",
    "alpindale": "alpindale",
    "allenai": "allenai",
    "amazon": "amazon",
    "anthropic": "anthropic",
    "arcee-ai": "arcee-ai",
    "baai": "baai",
    "baidu": "baidu",
    "bytedance-seed": "bytedance-seed",
    "bytedance": "bytedance-seed",
    "cohere": "cohere",
    "coherelabs": "cohere",
    "deepcogito": "deepcogito",
    "deepseek": "deepseek",
    "deepseek-ai": "deepseek",
    "google": "google",
    "gryphe": "gryphe",
    "ibm": "ibm-granite",
    "ibm-granite": "ibm-granite",
    "inclusionai": "inclusionai",
    "intfloat": "intfloat",
    "kwaipilot": "kwaipilot",
    "liquidai": "liquid",
    "liquid": "liquid",
    "lgai-exaone": "lgai-exaone",
    "meituan": "meituan",
    "meituan-longcat": "meituan",
    "meta": "meta-llama",
    "meta-llama": "meta-llama",
    "microsoft": "microsoft",
    "minimax": "minimax",
    "minimaxai": "minimax",
    "mistral": "mistralai",
    "mistralai": "mistralai",
    "moonshotai": "moonshotai",
    "moonshot": "moonshotai",
    "nex-agi": "nex-agi",
    "nomic-ai": "nomic-ai",
    "nousresearch": "nousresearch",
    "nvidia": "nvidia",
    "openai": "openai",
    "perplexity": "perplexity",
    "poolside": "poolside",
    "qwen": "qwen",
    "reflection": "reflection",
    "sao10k": "sao10k",
    "sentence-transformers": "sentence-transformers",
    "snowflake": "snowflake",
    "stepfun": "stepfun",
    "stepfun-ai": "stepfun",
    "swiss-ai": "swiss-ai",
    "tencent": "tencent",
    "thedrummer": "thedrummer",
    "thenlper": "thenlper",
    "thinkingmachines": "thinkingmachines",
    "tiiuae": "tiiuae",
    "togethercomputer": "togethercomputer",
    "upstage": "upstage",
    "utter-project": "utter-project",
    "whereisai": "whereisai",
    "writer": "writer",
    "x-ai": "x-ai",
    "xai": "x-ai",
    "xiaomi": "xiaomi",
    "xiaomimimo": "xiaomi",
    "z-ai": "z-ai",
    "zai": "z-ai",
    "zai-org": "z-ai",
    "zhipuai": "z-ai",
}
"""Authors as hosts write them, and as slugs do."""

_NO_AUTHORS: Final = frozenset({"mistral", "moonshot", "openrouter", "xai", "zai", "zhipuai"})
"""Authors whose slugs are written with another name; OpenRouter's own are no models but choices among them."""

FREE: Final = ":free"
"""The end of the name of a variant that costs nothing: a model of its own."""

_SLUG: Final = re.compile(r"[a-z0-9][a-z0-9-]*/[a-z0-9][a-z0-9._-]*(?::free)?")
_REGION: Final = re.compile(r"(us-gov|us|eu|apac|au|jp|ca|global)\.(?=[a-z])")
_CLOUD: Final = re.compile(r"(?:accounts/[a-z-]+/(?:models|routers)/|@cf/|@oi/|workers-ai/)")
_VENDOR: Final = re.compile(r"([a-z0-9]+)\.(?=[a-z])")
_VERSION: Final = re.compile(r"(?:-v\d+(?::\d+[km]?)?|-\d:\d)$")
_SIZE: Final = re.compile(r":\d+(?:k|m)?$")
_FIREWORKS_DOT: Final = re.compile(r"(?<=\d)p(?=\d)")
_FORMATS: Final = {
    "fp8": Quantization.FP8,
    "fp8-fast": Quantization.FP8,
    "fp4": Quantization.FP4,
    "nvfp4": Quantization.NVFP4,
    "mxfp4": Quantization.MXFP4,
    "fp16": Quantization.FP16,
    "bf16": Quantization.BF16,
    "int8": Quantization.INT8,
    "int4": Quantization.INT4,
    "w4a16": Quantization.INT4,
    "awq": Quantization.INT4,
}
_SERVING: Final = re.compile(
    r"[-_:](fp8-fast|fp8|nvfp4|mxfp4|fp4|fp16|bf16|int8|int4|w4a16|awq|tee|maas|lora|serverless|dynamic|us|eu)$"
)
_TURBO: Final = re.compile(r"(?<=instruct)-turbo$|(?<=\d)b-turbo$|(?<=scout|chine)-turbo$")
_LOOSE: Final = re.compile(r"latest|preview-latest|auto$|router|^custom|default$")
_DATE: Final = re.compile(r"[-@](?:20\d{6}|20\d\d-\d\d-\d\d|2\d[01]\d[0-3]\d|default|\d{3})$")
_TUNED: Final = ("-instruct", "-it", "-chat", "-instruct-hf")
_TUNED_AND_DATED: Final = re.compile(r"(.+)-instruct-(\d{4})")
_CLAUDE: Final = re.compile(r"claude-(\d(?:[.-]\d)?)-(opus|sonnet|haiku)(.*)")


class Found(Struct, frozen=True):
    """A model; how its weights are written and in which region, if the id says it; and how far the id is from the slug."""

    slug: str
    quantization: Quantization = Quantization.UNKNOWN
    region: str | None = None
    turbo: bool = False
    steps: int = 0


class SlugBook:
    """Knows all canonical slugs, and which of them an id means."""

    def __init__(self) -> None:
        """Begin with no slug."""
        self.slugs: dict[str, None] = {}
        self._by_author: dict[tuple[str, str], str] = {}
        self._by_name: dict[str, str | None] = {}

    def register(self, slug: str) -> None:
        """Take a slug in, unless one that differs by punctuation only is there."""
        author, _, name = slug.partition("/")
        key = _squashed(name)
        if not _SLUG.fullmatch(slug) or _LOOSE.search(name) or author in _NO_AUTHORS or (author, key) in self._by_author:
            return
        self.slugs[slug] = None
        self._by_author[author, key] = slug
        self._by_name[key] = slug if key not in self._by_name else None

    def equate(self, written: str, slug: str) -> None:
        """Take `author/name` as another way to write a slug that is known. Raises ValueError if it is not."""
        if slug not in self.slugs:
            raise ValueError(f"{written!r} stands for {slug!r}, which no source knows")
        author, _, name = written.partition("/")
        key = _squashed(name)
        self._by_author[author, key] = slug
        self._by_name[key] = slug if self._by_name.get(key, slug) == slug else None

    def register_own(self, lab: str, upstream_model: str) -> None:
        """Take in what a lab lists under its own name, or a host in Hugging Face's form, unless it is known already.

        What a lab lists under the name of another is that other's.
        """
        name = _bare(upstream_model.lower())
        if "/" not in upstream_model:
            lab = AUTHORS.get(name.partition("-")[0], lab)
        if self.find(upstream_model, lab) is None and not _LOOSE.search(name):
            self.register(f"{lab}/{_cleaned(name)}")

    def register_written(self, upstream_model: str) -> None:
        """Take in an id in Hugging Face's form whose author is known, unless it is known already."""
        words = _CLOUD.sub("", upstream_model.lower()).split("/")
        author = AUTHORS.get(words[0])
        if author is not None and words[1:] == words[-1:]:
            self.register_own(author, upstream_model)

    def find(self, upstream_model: str, lab: str | None = None) -> Found | None:
        """Return the model that an id means, None if that is not sure. `lab` is the author of ids without one."""
        lowered = upstream_model.lower()
        if lowered in self.slugs:
            return Found(lowered)
        region = _REGION.match(lowered)
        name = _bare(lowered)
        words = _CLOUD.sub("", lowered).split("/")
        author = AUTHORS.get(words[-2]) if len(words) > 1 else None
        if author is None and (vendor := _VENDOR.match(_REGION.sub("", lowered, count=1))):
            author = AUTHORS.get(vendor[1])
        for steps, (form, within) in enumerate(_forms(name)):
            slug = self._known(form, within or author, lab)
            if slug is not None and slug.startswith(within or ""):
                taken = _served(name)[1]
                formats = [_FORMATS[word] for word in taken if word in _FORMATS]
                regions = [region[1]] if region else [word for word in taken if word in {"us", "eu"}]
                return Found(
                    slug,
                    quantization=formats[0] if formats else Quantization.UNKNOWN,
                    region=regions[0] if regions else None,
                    turbo=_TURBO.search(name) is not None and not form.endswith("turbo"),
                    steps=steps,
                )
        return None

    def _known(self, form: str, author: str | None, lab: str | None) -> str | None:
        key = _squashed(form)
        for each in (author, lab):
            if each is not None and (each, key) in self._by_author:
                return self._by_author[each, key]
        return None if author is not None and key in self._by_name and self._foreign(key, author) else self._by_name.get(key)

    def _foreign(self, key: str, author: str) -> bool:
        """Tell whether a name is known under another author only: then an id with an author means another model."""
        slug = self._by_name[key]
        return (
            slug is not None
            and slug.partition("/")[0] != author
            and author not in {"meta-llama", "nvidia", "cohere", "deepseek"}
        )


def _bare(lowered: str) -> str:
    """Take off what clouds put around a name."""
    fireworks = lowered.startswith("accounts/")
    name = _REGION.sub("", _CLOUD.sub("", lowered), count=1).rsplit("/", 1)[-1]
    if (vendor := _VENDOR.match(name)) and vendor[1] in AUTHORS:
        name = name[vendor.end() :]
        # Bedrock's DeepSeek models are called v3 and r1 only.
        name = f"deepseek-{name}" if vendor[1] == "deepseek" else name
    name = name.removeprefix("databricks-").removeprefix("fw-")
    if fireworks:
        name = _FIREWORKS_DOT.sub(".", name)
    return name.removesuffix(FREE)


def _served(name: str) -> tuple[str, list[str]]:
    taken = []
    while found := _SERVING.search(name):
        taken.append(found[1])
        name = name[: found.start()]
    return name, taken


def _forms(name: str) -> Iterator[tuple[str, str | None]]:
    """Give the forms of a name, from what is written to what is left of it, with the author where one stood within the name."""
    plain, _ = _served(name)
    unversioned = _VERSION.sub("", plain)
    untuned = plain.removesuffix("-turbo") if plain.endswith("b-turbo") else _TURBO.sub("", plain)
    bases: tuple[str, ...] = (name, plain, _SIZE.sub("", plain), unversioned, untuned, *_reordered(plain))
    seen: dict[str, str | None] = dict.fromkeys(bases)
    for base in tuple(seen):
        head, _, rest = base.partition("-")
        if head in AUTHORS and rest:
            seen.setdefault(rest, AUTHORS[head])
    for base, within in tuple(seen.items()):
        for ending in () if base.startswith("gpt-") else _TUNED:
            seen.setdefault(base.removesuffix(ending) if base.endswith(ending) else base + ending, within)
    for base, within in tuple(seen.items()):
        undated = _DATE.sub("", base)
        if undated != base:
            seen.setdefault(undated, within)
            seen.setdefault(undated + "-instruct", within)
    yield from seen.items()


def _reordered(name: str) -> Iterable[str]:
    """Give the ways in which slugs write what hosts write otherwise.

    `claude-4-sonnet` has another order, Amazon's models have a version, DeepSeek's a `chat`, and what is dated is tuned anyway.
    """
    if found := _CLAUDE.fullmatch(name):
        yield f"claude-{found[2]}-{found[1]}{found[3]}"
    if name.startswith("nova-"):
        yield f"{name}-v1"
    if name.startswith("deepseek-v"):
        yield name.replace("deepseek-v", "deepseek-chat-v", 1)
    if found := _TUNED_AND_DATED.fullmatch(name):
        yield f"{found[1]}-{found[2]}"


def _cleaned(name: str) -> str:
    plain, _ = _served(name)
    return re.sub(r"[^a-z0-9.-]+", "-", _DATE.sub("", plain) if "claude" in plain else plain).strip("-.")


def _squashed(name: str) -> str:
    suffix = FREE if name.endswith(FREE) else ""
    return re.sub(r"[^a-z0-9]+", "", name.removesuffix(FREE)) + suffix
