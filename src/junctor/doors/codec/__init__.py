"""Pure translation between protos and domain nouns, with every check of what comes from outside."""
