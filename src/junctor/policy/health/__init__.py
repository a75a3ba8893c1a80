"""How an endpoint's health follows from what was seen of it: in this instance, and told by all others (routing.md, Health)."""
