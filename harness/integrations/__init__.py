"""The gate in other people's loops: Inspect's evals, trainers, pull requests, model registries."""
