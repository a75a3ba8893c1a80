"""Tests of `junctor models`, `endpoints` and `providers` against a real server with a made-up catalogue."""

import argparse
import json
import os

import grpc
import pytest

from junctor.cli.main import main
from junctor.cli.models import add_models, run_models
from junctor.v1 import catalog_service_pb2 as pb
from junctor.v1.routing_pb2 import QUANTIZATION_FP8, QUANTIZATION_UNKNOWN, Percentiles
from tests.support.fake_catalog import FakeCatalog
from tests.support.fake_router import Failure, FakeRouter
from tests.support.fresh_python import modules_after

MODELS = [
    pb.Model(
        slug="lab/near",
        endpoint_count=3,
        reachable_endpoint_count=2,
        input_picousd=150_000,
        output_picousd=1_234_567,
        context_tokens=128_000,
        throughput_tokens_per_s=80.4,
        time_to_first_token_ms=310.2,
        openings=[pb.Opening(provider="p", variables=["P_KEY"])],
    ),
    pb.Model(slug="lab/bare", endpoint_count=1, reachable_endpoint_count=1, input_picousd=0, output_picousd=0),
    pb.Model(
        slug="lab/far",
        endpoint_count=2,
        openings=[
            pb.Opening(provider="p", variables=["P_KEY"]),
            pb.Opening(provider="q", variables=["Q_KEY", "Q_TOKEN"]),
        ],
    ),
    pb.Model(slug="lab/away", endpoint_count=1, openings=[pb.Opening(provider="p", variables=["P_KEY"])]),
    pb.Model(slug="lab/lost", endpoint_count=1),
]
ENDPOINTS = [
    pb.Endpoint(
        id="p/lab/near",
        model="lab/near",
        unreachable_reason="CREDENTIALS_MISSING",
        variables=["P_KEY"],
        quantization=QUANTIZATION_FP8,
        context_tokens=128_000,
        output_tokens_max=8_192,
        price=pb.PriceCard(
            parts=pb.PriceParts(input=150_000, output=600_000, cache_read=75_000),
            as_of="2026-08-18",
            tiers=[
                pb.PriceTier(parts=pb.PriceParts(input=300_000), input_tokens_from=200_001),
                pb.PriceTier(parts=pb.PriceParts(output=100_000), utc_from_min=990, utc_to_min=30, service_tier="flex"),
            ],
        ),
        next_price=pb.PriceCard(parts=pb.PriceParts(input=1, output=2), valid_from_ms=1_798_761_600_000),
    ),
    pb.Endpoint(
        id="s/lab/near",
        model="lab/near",
        dialect="strange",
        unreachable_reason="NOT_RUNNING",
        price=pb.PriceCard(parts=pb.PriceParts(input=1, output=2), as_of="2026-08-18"),
        quantization=QUANTIZATION_UNKNOWN,
    ),
    pb.Endpoint(
        id="t/lab/near",
        model="lab/near",
        dialect_spoken=True,
        unreachable_reason="NOT_RUNNING",
        quantization=QUANTIZATION_UNKNOWN,
    ),
    pb.Endpoint(
        id="u/lab/near",
        model="lab/near",
        dialect_spoken=True,
        unreachable_reason="NOT_RUNNING",
        variables=["REGION and U_KEY", "REGION and U_TOKEN"],
        quantization=QUANTIZATION_UNKNOWN,
    ),
    pb.Endpoint(
        id="q/lab/near",
        model="lab/near",
        reachable=True,
        quantization=QUANTIZATION_UNKNOWN,
        health=pb.EndpointHealth(
            status=pb.ENDPOINT_STATUS_OPEN,
            open_cause=pb.OPEN_CAUSE_MODEL_GONE,
            open_until_ms=1_798_761_601_000,
            uptime=pb.Uptime(last_1d=0.9987),
            time_to_first_token_ms=Percentiles(p50=310.4),
            throughput_tokens_per_s=Percentiles(p50=81),
        ),
    ),
]
PROVIDERS = [
    pb.Provider(slug="a", variables=["A_KEY", "A_TOKEN"], model_count=2, endpoint_count=2, dialect_spoken=True),
    pb.Provider(slug="c", variables=["C_HOST"], model_count=1, endpoint_count=1, dialect_spoken=True, credential_count=1),
    pb.Provider(slug="b", variables=["B_KEY"], model_count=1, endpoint_count=1, dialects=["strange"], credential_count=1),
    pb.Provider(
        slug="z",
        model_count=1_000,
        endpoint_count=1_001,
        reachable_endpoint_count=900,
        dialect_spoken=True,
        credential_count=2,
        purchase_fee_ppm=55_000,
        data_policy=pb.DataPolicy(trains=False, retains=True),
    ),
]


pytestmark = pytest.mark.usefixtures("data_dir")


def run(*words: str) -> int:
    """Run a command as the command line does."""
    parser = argparse.ArgumentParser(prog="junctor")
    add_models(parser.add_subparsers(dest="command"))
    return run_models(parser.parse_args(words), os.environ)


def cells(text: str) -> list[str]:
    """Return each line of a table with single spaces."""
    return [" ".join(line.split()) for line in text.splitlines() if line.strip()]


def served() -> FakeCatalog:
    """Return a server that has all."""
    return FakeCatalog(models=MODELS, endpoints=ENDPOINTS, providers=PROVIDERS)


def test_what_is_reached_is_listed_and_what_would_reach_more(capsys: pytest.CaptureFixture[str]) -> None:
    """A newcomer would not know what he can ask today, or what to set to ask more."""
    with served() as server:
        assert run("models", "--target", server.target) == 0
    assert cells(capsys.readouterr().out) == [
        "Models, USD for a million tokens",
        "model in out context endpoints first token speed",
        "lab/near $0.15 $1.234567 128,000 2 of 3 310 ms 80/s",
        "lab/bare $0.00 $0.00 ? 1 of 1",
        "2 models of 5 can be reached.",
        "set P_KEY to reach 2 more",
        "set Q_KEY or Q_TOKEN to reach 1 more",
        "1 model no variable alone opens: junctor endpoints MODEL says why",
    ]


def test_all_lists_also_what_is_not_reached(capsys: pytest.CaptureFixture[str]) -> None:
    """A person would not find the model that he looks for, nor how to reach it."""
    with served() as server:
        assert run("models", "--all", "--target", server.target) == 0
    shown = cells(capsys.readouterr().out)
    assert "lab/far ? ? ? 0 of 2 set P_KEY or Q_KEY or Q_TOKEN" in shown
    assert "lab/lost ? ? ? 0 of 1 no variable opens it" in shown


def test_every_wish_is_sent() -> None:
    """A filter would be left out, and a person choose from the wrong list."""
    words = "gpt mini --provider p --provider q --modality image --output-modality text --parameter tools --context 5000"
    prices = "--max-input-price 0.15 --max-output-price 2 --sort throughput"
    with served() as server:
        assert run("models", *words.split(), *prices.split(), "--target", server.target) == 0
    assert server.requests[0] == pb.ListModelsRequest(
        page_size=200,
        sort=pb.MODEL_SORT_THROUGHPUT,
        text="gpt mini",
        providers=["p", "q"],
        input_modalities=["image"],
        output_modalities=["text"],
        parameters=["tools"],
        context_tokens_min=5_000,
        input_picousd_max=150_000,
        output_picousd_max=2_000_000,
    )


def test_json_has_all_that_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    """A program that picks models would have to read tables, or miss what is not known."""
    with served() as server:
        for words in (("models",), ("models", "--all"), ("endpoints", "lab/near"), ("providers",)):
            assert run(*words, "--json", "--target", server.target) == 0
    seen = capsys.readouterr()
    assert seen.err == ""
    some, every, endpoints, providers = map(json.loads, seen.out.splitlines())
    assert [model["slug"] for model in some["models"]] == ["lab/near", "lab/bare"]
    assert [model["slug"] for model in every["models"]] == [model.slug for model in MODELS]
    assert (some["matching"], some["models"][0]["input_picousd"], some["models"][1]["context_tokens"]) == (5, 150_000, None)
    opened = [{"variables": ["P_KEY"], "models": 2}, {"variables": ["Q_KEY", "Q_TOKEN"], "models": 1}]
    assert some["openings"] == every["openings"] == opened
    first, *_, last = endpoints["endpoints"]
    assert (first["price"]["parts"]["output"], first["quantization"], first["health"]) == (600_000, "fp8", None)
    assert (last["health"]["status"], last["health"]["open_cause"], last["price"]) == ("open", "model_gone", None)
    assert [provider["credential_count"] for provider in providers["providers"]] == [0, 1, 1, 2]


def test_endpoints_are_shown_with_price_health_and_what_opens_them(capsys: pytest.CaptureFixture[str]) -> None:
    """A person would not see where a model is cheap, sound or open to him, nor that its price changes."""
    with served() as server:
        assert run("endpoints", "near", "--target", server.target) == 0
        assert server.requests[0].model == "near"
    assert cells(capsys.readouterr().out) == [
        "Endpoints of lab/near, USD for a million tokens",
        "endpoint in out cached price of context output weights health",
        "q/lab/near ? ? ? ? ? unknown open (model gone) until 00:00:01 UTC, 99.87% up, 310 ms, 81/s reachable",
        "p/lab/near $0.15 $0.60 $0.075 2026-08-18, tiered 128,000 8,192 fp8 not measured set P_KEY",
        "s/lab/near $0.000001 $0.000002 2026-08-18 ? ? unknown not measured its wire API is not spoken yet (strange)",
        "t/lab/near ? ? ? ? ? unknown not measured not running, price unknown",
        "u/lab/near ? ? ? ? ? unknown not measured set REGION and U_KEY or REGION and U_TOKEN",
        "Other prices",
        "p/lab/near from 200,001 input tokens: $0.30 in, $0.60 out",
        "p/lab/near from 16:30 to 00:30 UTC, service tier flex: $0.15 in, $0.10 out",
        "p/lab/near from 2027-01-01 00:00 UTC: $0.000001 in, $0.000002 out",
    ]


def test_providers_are_shown_with_what_opens_them(capsys: pytest.CaptureFixture[str]) -> None:
    """An operator would not know which account to open next, what it costs on top, or what becomes of the data."""
    with served() as server:
        assert run("providers", "--target", server.target) == 0
    assert cells(capsys.readouterr().out) == [
        "Providers",
        "provider models endpoints data fee",
        "z 1,000 900 of 1,001 does not train, retains 5.5 % 2 credentials set",
        "b 1 0 of 1 ? its wire API is not spoken yet (strange)",
        "c 1 0 of 1 ? set C_HOST",
        "a 2 0 of 2 ? set A_KEY or A_TOKEN",
    ]


def test_an_empty_list_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    """A person would take silence for a fault."""
    with FakeCatalog() as server:
        assert run("models", "nothing", "--target", server.target) == 0
    assert capsys.readouterr().out == "There is no such model.\n"


def test_what_fails_is_told_and_ends_with_1(capsys: pytest.CaptureFixture[str]) -> None:
    """A script would go on with nothing, or a person read a traceback."""
    message = "There is no model 'lab/neer'. Near names: lab/near."
    with FakeCatalog(failure=Failure(grpc.StatusCode.NOT_FOUND, "MODEL_NOT_FOUND", message)) as server:
        assert run("endpoints", "lab/neer", "--target", server.target) == 1
    out, err = capsys.readouterr()
    assert (out, err.startswith(f"{message} (MODEL_NOT_FOUND)\n"), "junctor models --all" in err) == ("", True, True)
    with FakeRouter() as older:
        assert run("providers", "--target", older.target) == 1
    assert "not a Junctor of this version" in capsys.readouterr().err
    assert run("models", "--target", older.target) == 1
    assert capsys.readouterr().err == f"Nothing answers at {older.target}; start it with `junctor up`, or give --target.\n"


def test_without_a_key_nothing_is_asked(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A call without a key would be sent, and its refusal explain nothing."""
    monkeypatch.delenv("JUNCTOR_API_KEY")
    with served() as server:
        assert run("models", "--target", server.target) == 2
    assert server.requests == []
    assert "There is no API key." in capsys.readouterr().err


@pytest.mark.parametrize(
    "words",
    [
        ("models", "--max-input-price", "0.0000001"),
        ("models", "--max-output-price", "-1"),
        ("models", "--context", "0"),
        ("models", "--context", "many"),
        ("models", "--context", "1_0"),
        ("models", "--context", "9" * 5_000),
        ("models", "--sort", "colour"),
        ("endpoints",),
        ("providers", "--timeout", "0"),
    ],
)
def test_wrong_use_is_told_before_anything_is_asked(words: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    """A mistyped command line would end in a traceback, or in the name of a function."""
    with pytest.raises(SystemExit) as end:
        run(*words)
    assert end.value.code == 2
    assert "invalid _" not in capsys.readouterr().err


@pytest.mark.parametrize("words", [("models", "a\udcff"), ("models", "--provider", "a\udcff"), ("endpoints", "a\udcff")])
def test_what_is_no_text_is_not_sent(words: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    """A slip at the keyboard would end in a traceback."""
    with served() as server:
        assert main([*words, "--target", server.target]) == 2
    assert capsys.readouterr().err == "This cannot be sent: it is not valid UTF-8.\n"


@pytest.mark.parametrize("command", ["models", "endpoints", "providers"])
def test_help_has_an_example(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A newcomer would read options and still not know what to type."""
    with pytest.raises(SystemExit) as ended:
        main([command, "--help"])
    assert ended.value.code == 0
    assert f"Example: junctor {command}" in capsys.readouterr().out


def test_help_imports_nothing_heavy() -> None:
    """A look at the options would take a second."""
    assert not modules_after("from junctor.cli.main import main; main(['models', '--help'])") & {"grpc", "google", "rich"}


def test_the_command_line_knows_all_three(capsys: pytest.CaptureFixture[str]) -> None:
    """A command would be described and not done."""
    with served() as server:
        codes = [main([*words, "--target", server.target]) for words in (("models",), ("endpoints", "x"), ("providers",))]
    assert codes == [0, 0, 0]
    assert capsys.readouterr().out.count("USD for a million tokens") == 2
