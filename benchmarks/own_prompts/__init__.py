"""Prompts from the user's files, judged by a form or measured against references, without code."""
