"""The gate in other people's loops: Inspect's early stopping, the Trainer's callbacks, pull requests, model registries."""
