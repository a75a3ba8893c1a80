"""Money: leases that an instance holds, and one durable slot for each generation (the protocol of ledger.md)."""
