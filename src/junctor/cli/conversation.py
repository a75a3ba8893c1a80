"""`junctor chat` without a question: turn after turn with a model, in the terminal or from lines that are piped in.

A turn becomes part of the conversation only with its whole answer: what failed or was cancelled is as if it had not been said.
Ctrl-C cancels the answer that is under way, and ends nothing else; Ctrl-D ends. Lines that begin with a slash are commands.
"""

import contextlib
import sys
from collections.abc import Callable, Mapping

from msgspec.structs import replace

from junctor.cli.access import WrongUseError
from junctor.cli.asking import ChatOptions, Turn, ask
from junctor.cli.chat_report import ROUTE_HEADINGS, ChatResult, attempt_cells, explain, route_rows, summary
from junctor.cli.explain import SAMPLE_PROMPT, show_plan
from junctor.cli.explain_report import read_plan
from junctor.cli.money import in_usd
from junctor.cli.showing import show_table, tell
from junctor.cli.terminal import dimmed, is_text, shown, write
from junctor.client import Client, JunctorRpcError

PROMPT = "> "


def converse(client: Client, options: ChatOptions, target: str) -> int:
    """Talk until the input ends, and return the exit code: 0 at a terminal, else 1 if a call failed.

    Raises WrongUseError if the input is not text.
    """
    talk = _Conversation(client, options, target)
    return talk.run()


class _Quit(Exception):
    """The conversation is to end."""


class _Conversation:
    """What was said so far, and with which model it goes on."""

    def __init__(self, client: Client, options: ChatOptions, target: str) -> None:
        self._client = client
        self._options = options
        self._target = target
        self._opening: list[Turn] = [{"role": "system", "content": options.system}] if options.system else []
        self._turns = list(self._opening)
        self._last: ChatResult | None = None
        self._cost_nanousd = 0
        self._answers = 0
        self._uncounted = 0
        self._failed = False
        self._at_terminal = sys.stdin.isatty()
        self._commands: Mapping[str, tuple[Callable[[str], None], str]] = {
            "/model": (self._model, "NAME  go on with this model; alone, say which it is"),
            "/route": (self._route, "where the last answer came from, what was tried, what it cost"),
            "/explain": (self._explain, "[TEXT]  where the next message would go, and why not elsewhere"),
            "/cost": (self._cost, "what all answers cost so far"),
            "/new": (self._new, "begin anew, and forget what was said"),
            "/help": (self._help, "this"),
            "/quit": (self._quit, "end"),
        }

    def run(self) -> int:
        """Take lines until the input ends."""
        if self._at_terminal:
            # Only then are lines edited and remembered.
            with contextlib.suppress(ImportError):
                import readline  # noqa: F401 - importing it is what it takes
            tell(f"Talking with {self._options.model}. /help lists what can be typed; Ctrl-D ends.")
        while True:
            try:
                line = self._read()
                if line is None:
                    break
                self._take(line.strip())
            except _Quit:
                break
            except JunctorRpcError as error:
                self._failed = True
                tell(*explain(error, self._target, self._options.timeout_s))
            except KeyboardInterrupt:
                if not self._at_terminal:
                    raise
                tell("", "/quit or Ctrl-D ends.")
        return 1 if self._failed and not self._at_terminal else 0

    def _read(self) -> str | None:
        """Return the next line, None at the end of the input."""
        try:
            if self._at_terminal and sys.stdout.isatty():
                return input(PROMPT)
            if self._at_terminal:
                write(PROMPT, sys.stderr)
            return sys.stdin.readline() or None
        except EOFError:
            tell("")
            return None
        except UnicodeDecodeError:
            raise WrongUseError("What is on standard input is not valid UTF-8.") from None

    def _take(self, line: str) -> None:
        """Do what a line says; two slashes stand for one that begins a message."""
        if not line:
            return
        if line.startswith("/") and not line.startswith("//"):
            name, _, rest = line.partition(" ")
            if name in self._commands:
                self._commands[name][0](rest.strip())
            else:
                self._failed = True
                tell(f"There is no {name}; /help lists what there is, and // begins a message with a slash.")
        elif not is_text(line):
            tell("This is not valid UTF-8; it was not sent.")
        else:
            self._say(line.removeprefix("/") if line.startswith("//") else line)

    def _say(self, text: str) -> None:
        turn = {"role": "user", "content": text}
        try:
            result = ask(self._client, [*self._turns, turn], self._options)
        except KeyboardInterrupt:
            self._uncounted += 1
            tell("Cancelled; this turn is not part of the conversation.")
            return
        self._last = result
        self._answers += 1
        if result.cost_nanousd is None:
            self._uncounted += 1
        else:
            self._cost_nanousd += result.cost_nanousd
        if result.answer:
            self._turns += [turn, {"role": "assistant", "content": result.answer}]
        write(dimmed(shown(summary(result), sys.stderr), sys.stderr) + "\n", sys.stderr)

    def _model(self, name: str) -> None:
        if not name:
            tell(f"The model is {self._options.model}.")
            return
        # The plan knows variants and aliases, and whether anything would answer; a slip is refused with near names.
        plan = read_plan(self._client.explain(SAMPLE_PROMPT, model=name))
        if not plan.candidates:
            reasons = sorted({row.reason.replace("_", " ").lower() for row in plan.excluded})
            tell(f"Nothing that has {name} can answer now ({', '.join(reasons)}); still talking with {self._options.model}.")
            return
        self._options = replace(self._options, model=name)
        tell(f"Talking with {name}.")

    def _route(self, _: str) -> None:
        if self._last is None:
            tell("There was no answer yet.")
            return
        show_table("Last answer", route_rows(self._last))
        show_table("Tried", (ROUTE_HEADINGS, *map(attempt_cells, self._last.attempts)))

    def _explain(self, text: str) -> None:
        turns = [*self._turns, {"role": "user", "content": text or SAMPLE_PROMPT}]
        options = self._options
        show_plan(read_plan(self._client.explain(turns, model=options.model, max_tokens=options.max_tokens)))

    def _cost(self, _: str) -> None:
        unknown = f"; of {self._uncounted} the cost is not known" if self._uncounted else ""
        answers = "1 answer" if self._answers == 1 else f"{self._answers} answers"
        tell(f"{answers} cost {in_usd(self._cost_nanousd)} so far{unknown}.")

    def _new(self, _: str) -> None:
        self._turns = list(self._opening)
        tell("Begun anew.")

    def _help(self, _: str) -> None:
        tell(*(f"{name} {text}" for name, (_, text) in self._commands.items()), "// begins a message with a slash")

    def _quit(self, _: str) -> None:
        raise _Quit
