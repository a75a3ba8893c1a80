"""An account's books judged from its items alone, read-only, while others may write (the invariants of ledger.md)."""
