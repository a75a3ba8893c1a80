"""`junctor explain`: where would a request go, and why not elsewhere? Asked of a running router with a user's own key.

No model is asked and nothing is charged. The plan is one draw: unless it is sorted, another call may get another order, by the
weights shown. Its options cost nothing to import; the rest comes when it runs.
"""

import argparse
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING

from junctor.cli.access import WrongUseError, add_options, find_target, given_tls, open_client
from junctor.cli.numbers import whole
from junctor.cli.showing import show_json, show_table, tell

if TYPE_CHECKING:
    from junctor.cli.explain_report import PlanRecord
    from junctor.client import RoutingPreferences

TIMEOUT_S = 30.0
SAMPLE_PROMPT = "Good morning."


def add_explain(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command and its options."""
    explain = commands.add_parser(
        "explain",
        description="Show where a request would go, in order, and why not elsewhere. No model is asked and nothing is charged.",
        epilog="Example: junctor explain --model openai/gpt-oss-120b:floor --max-tokens 400 --ignore groq",
    )
    explain.add_argument(
        "prompt", metavar="PROMPT", nargs="?", help="the question; - reads standard input (default a short one)"
    )
    explain.add_argument("--model", metavar="NAME", required=True, help="the model, author/name")
    explain.add_argument("--fallback", metavar="NAME", action="append", help="a model to fall back to; may be repeated")
    explain.add_argument("--max-tokens", metavar="N", type=whole(), help="the most tokens to produce")
    explain.add_argument("--sort", choices=("price", "throughput", "latency"), help="sort instead of drawing by weight")
    for name, meaning in (
        ("order", "try these providers first, in this order"),
        ("only", "use no provider but these"),
        ("ignore", "never use these providers"),
    ):
        explain.add_argument(f"--{name}", metavar="A,B", type=_names, help=meaning)
    explain.add_argument("--json", action="store_true", help="print one JSON object and nothing else")
    add_options(explain, TIMEOUT_S)
    explain.set_defaults(run=run_explain)


def run_explain(options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    """Ask and show, and return the exit code: 0 shown, 1 the call failed or nothing may take it, 2 wrongly used."""
    from junctor.cli.chat_report import explain
    from junctor.cli.explain_report import read_plan
    from junctor.client import JunctorRpcError

    target = find_target(options.target, environ)
    try:
        with open_client(target, options.key_file, given_tls(options), environ) as client:
            found = client.explain(
                _prompt(options.prompt),
                model=options.model,
                models=options.fallback,
                max_tokens=options.max_tokens,
                preferences=_preferences(options),
                timeout_s=options.timeout,
            )
    except JunctorRpcError as error:
        tell(*explain(error, target, options.timeout))
        return 1
    except WrongUseError as problem:
        tell(str(problem))
        return 2
    plan = read_plan(found)
    if options.json:
        show_json(plan)
    else:
        show_plan(plan)
    return 0 if found.candidates else 1


def show_plan(plan: "PlanRecord") -> None:
    """Print a plan as tables: what would be tried, in order, and what would not be."""
    from junctor.cli.console import Console
    from junctor.cli.explain_report import HEADINGS, excluded_cells, planned_cells

    if plan.candidates:
        rows = (HEADINGS, *(planned_cells(place, row) for place, row in enumerate(plan.candidates, 1)))
        show_table("In this order", rows)
    else:
        Console().problem("No endpoint can take this request.")
    if plan.excluded:
        show_table("Not tried", [excluded_cells(row) for row in plan.excluded])
    if plan.excluded and not plan.candidates:
        tell(f"`junctor endpoints {plan.excluded[0].model}` says what would open each.")


def _preferences(options: argparse.Namespace) -> "RoutingPreferences":
    from junctor.client import ProviderList, RoutingPreferences, Sort

    return RoutingPreferences(
        order=options.order,
        only=None if options.only is None else ProviderList(providers=options.only),
        ignore=options.ignore,
        sort=None if options.sort is None else Sort(by=Sort.By.Value(f"BY_{options.sort.upper()}")),
    )


def _prompt(given: str | None) -> str:
    from junctor.cli.asking import piped

    if given is None:
        return SAMPLE_PROMPT
    return piped(sys.stdin) if given == "-" else given


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]
