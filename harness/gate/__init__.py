"""The gate: `decide` compares two runs under a policy and decides whether a checkpoint is promoted."""
