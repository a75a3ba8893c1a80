"""From a host's id to a slug: what each host adds is taken off, and what is another model stays one."""

import pytest

from junctor.adapters.catalog.importers.slugs import SlugBook
from junctor.domain.catalog import Quantization

SLUGS = (
    "anthropic/claude-haiku-4.5",
    "anthropic/claude-sonnet-4",
    "deepseek/deepseek-chat-v3-0324",
    "deepseek/deepseek-chat-v3.1",
    "deepseek/deepseek-v3.2",
    "deepseek/deepseek-v4-flash",
    "meta-llama/llama-3.3-70b-instruct",
    "moonshotai/kimi-k2-0905",
    "moonshotai/kimi-k2.5",
    "openai/gpt-5",
    "openai/gpt-oss-120b",
    "google/gemma-4-31b-it",
    "google/gemma-4-31b-it:free",
    "qwen/qwen3-coder",
    "qwen/qwen3-235b-a22b",
    "qwen/qwen3-235b-a22b-2507",
    "amazon/nova-lite-v1",
    "z-ai/glm-5",
    "z-ai/glm-5-turbo",
)


@pytest.fixture
def book() -> SlugBook:
    """Give a book that knows the slugs."""
    made = SlugBook()
    for slug in SLUGS:
        made.register(slug)
    return made


@pytest.mark.parametrize(
    ("written", "slug"),
    [
        ("openai/gpt-oss-120b", "openai/gpt-oss-120b"),
        ("gpt-oss-120b", "openai/gpt-oss-120b"),
        ("gpt-oss:120b", "openai/gpt-oss-120b"),
        ("hf:openai/gpt-oss-120b", "openai/gpt-oss-120b"),
        ("openai.gpt-oss-120b-1:0", "openai/gpt-oss-120b"),
        ("openai.gpt-oss-120b", "openai/gpt-oss-120b"),
        ("openai-gpt-oss-120b", "openai/gpt-oss-120b"),
        ("databricks-gpt-oss-120b", "openai/gpt-oss-120b"),
        ("openai/gpt-oss-120b-maas", "openai/gpt-oss-120b"),
        ("@cf/openai/gpt-oss-120b", "openai/gpt-oss-120b"),
        ("accounts/fireworks/models/kimi-k2p5", "moonshotai/kimi-k2.5"),
        ("FW-GLM-5", "z-ai/glm-5"),
        ("anthropic.claude-haiku-4-5-20251001-v1:0", "anthropic/claude-haiku-4.5"),
        ("us.anthropic.claude-haiku-4-5-20251001-v1:0", "anthropic/claude-haiku-4.5"),
        ("claude-haiku-4-5@20251001", "anthropic/claude-haiku-4.5"),
        ("claude-4-sonnet", "anthropic/claude-sonnet-4"),
        ("amazon.nova-lite-v1:0", "amazon/nova-lite-v1"),
        ("deepseek.v3.2", "deepseek/deepseek-v3.2"),
        ("deepseek-ai/DeepSeek-V3.1", "deepseek/deepseek-chat-v3.1"),
        ("deepseek-v3-0324", "deepseek/deepseek-chat-v3-0324"),
        ("moonshotai/Kimi-K2-Instruct-0905", "moonshotai/kimi-k2-0905"),
        ("qwen3-235b-a22b-instruct-2507", "qwen/qwen3-235b-a22b-2507"),
        ("deepseek-v4-flash-260425", "deepseek/deepseek-v4-flash"),
        ("meta-llama/Llama-3.3-70B-Instruct-Turbo", "meta-llama/llama-3.3-70b-instruct"),
        ("Meta-Llama-3_3-70B-Instruct", "meta-llama/llama-3.3-70b-instruct"),
        ("llama3.3-70b", "meta-llama/llama-3.3-70b-instruct"),
        ("nvidia/Llama-3.3-70B-Instruct-FP8", "meta-llama/llama-3.3-70b-instruct"),
        ("google/gemma-4-31b-it:free", "google/gemma-4-31b-it:free"),
        ("gemma-4-31b", "google/gemma-4-31b-it"),
        ("qwen3-235b-a22b-2507", "qwen/qwen3-235b-a22b-2507"),
        ("glm-5-turbo", "z-ai/glm-5-turbo"),
    ],
)
def test_a_host_s_own_name_is_understood(book: SlugBook, written: str, slug: str | None) -> None:
    """Else the same model stands twice in the catalogue, and one of it has no fallback."""
    found = book.find(written)
    assert (found.slug if found else None) == slug


@pytest.mark.parametrize(
    "written",
    [
        "deepseek-llama3.3-70b",
        "gpt-5-chat",
        "kimi-k2-instruct-2507",
        "deepseek-v3.3",
        "glm-5-fast",
        "kimi-k2.5-highspeed",
        "somebody/gpt-oss-120b-latest",
        "qwen/glm-5",
        "gpt-oss",
        "openrouter/auto",
    ],
)
def test_a_sibling_is_another_model(book: SlugBook, written: str) -> None:
    """Else who asks for one model is answered by another, at another price."""
    assert book.find(written) is None


def test_what_the_id_tells_besides(book: SlugBook) -> None:
    """Else who asks for full precision, or for a region, gets another one unawares."""
    found = book.find("nvidia/Llama-3.3-70B-Instruct-FP8")
    assert found is not None
    assert found.quantization is Quantization.FP8
    fast = book.find("@cf/meta/llama-3.3-70b-instruct-fp8-fast")
    assert fast is not None
    assert (fast.slug, fast.quantization) == ("meta-llama/llama-3.3-70b-instruct", Quantization.FP8)
    regional = book.find("eu.anthropic.claude-haiku-4-5-20251001-v1:0")
    assert regional is not None
    assert (regional.region, regional.quantization) == ("eu", Quantization.UNKNOWN)
    turbo = book.find("meta-llama/Llama-3.3-70B-Instruct-Turbo")
    assert turbo is not None
    assert turbo.turbo


def test_spellings_are_folded(book: SlugBook) -> None:
    """Else two slugs differ by a full stop, and each has half of the model's endpoints."""
    book.register("anthropic/claude-haiku-4-5")
    book.register_own("anthropic", "claude-haiku-4-5-20251001")
    book.register_written("Qwen/Qwen3-Coder-Instruct")
    assert tuple(book.slugs) == SLUGS


def test_labs_and_hosts_bring_new_ones(book: SlugBook) -> None:
    """Else a model that no aggregator sells is missing from the catalogue."""
    book.register_own("x-ai", "grok-9")
    book.register_written("zai-org/GLM-6-FP8")
    book.register_written("nobody-known/model-7b")
    book.register_own("x-ai", "grok-latest")
    assert tuple(book.slugs)[len(SLUGS) :] == ("x-ai/grok-9", "z-ai/glm-6")


def test_a_lab_that_serves_another_lab_s_model_did_not_make_it(book: SlugBook) -> None:
    """Else a model goes by the name of whoever listed it first, apart from all its other endpoints."""
    book.register_own("qwen", "deepseek-v9-1")
    book.register_own("qwen", "deepseek-v3-1")
    book.register_own("nvidia", "nvidia/deepseek-v9-tuned")
    assert tuple(book.slugs)[len(SLUGS) :] == ("deepseek/deepseek-v9-1", "nvidia/deepseek-v9-tuned")


def test_a_shared_name_needs_its_author(book: SlugBook) -> None:
    """Else a request for one lab's model goes to another lab's of the same name."""
    book.register("cohere/aria")
    book.register("google/aria")
    assert book.find("aria") is None
    found = book.find("aria", lab="google")
    assert found is not None
    assert found.slug == "google/aria"


def test_a_name_by_hand(book: SlugBook) -> None:
    """Else a name that no rule can tell is lost, or a slip in the table makes up a model."""
    book.equate("qwen/qwen3-coder-480b-a35b", "qwen/qwen3-coder")
    found = book.find("Qwen/Qwen3-Coder-480B-A35B-Instruct-FP8")
    assert found is not None
    assert found.slug == "qwen/qwen3-coder"
    with pytest.raises(ValueError, match="gone"):
        book.equate("qwen/x", "qwen/gone")
