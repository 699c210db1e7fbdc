"""Readers of the files FastChat, alpaca_eval and arena-hard-auto write."""
