"""Judges made of several judges: a panel, a cascade, two judges."""
