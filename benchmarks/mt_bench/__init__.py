"""MT-Bench: two-turn questions rated 1 to 10."""
