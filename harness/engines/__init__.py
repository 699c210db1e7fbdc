"""Engines generate responses and score text. `harness.engines.base` has the protocol."""
