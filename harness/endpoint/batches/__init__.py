"""Batch interfaces of vendors: half the price, answers within a day."""
