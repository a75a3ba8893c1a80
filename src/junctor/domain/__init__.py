"""The nouns: frozen values that use cases, ledger, records, policy and adapters exchange.

Nothing here reads a clock, throws dice, or knows a wire format. Constructors do not validate: the codecs check what comes
from outside, and everything further in may rely on it.
"""
