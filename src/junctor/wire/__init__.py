"""Other people's JSON as msgspec structs, without logic: one schema for the door and the dialect that speak it."""
