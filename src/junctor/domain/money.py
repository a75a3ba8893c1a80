"""Units of money. Everything is an integer; a float never holds money.

Sums are nano-USD (1e-9 USD, the grain of google.type.Money) and their names end in `_nanousd`. Prices are pico-USD (1e-12 USD)
for each unit (a token, a request, an image), as the cheapest tokens cost less than one nano-USD.
"""

from typing import TypeAlias

NanoUsd: TypeAlias = int
"""A sum in 1e-9 USD."""

PicoUsd: TypeAlias = int
"""A price for each unit in 1e-12 USD."""

PICO_IN_NANO = 1_000
"""Pico-USD in one nano-USD."""
