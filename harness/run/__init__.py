"""The stages of a run: plan, generate, judge, score, compare."""
