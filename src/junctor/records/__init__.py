"""One module per item family: how domain nouns lie in tables. Key strings are built here and nowhere else."""
