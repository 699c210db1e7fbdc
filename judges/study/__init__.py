"""Judges against human votes: how far a judge can be trusted, what it is worth, and how labels correct it."""
