"""Why samples are poor: checks, each with its evidence and its remedy."""
