"""A run from plan to figures: generate, judge, score, compare."""
