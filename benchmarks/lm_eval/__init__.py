"""Tasks of lm-eval on assay's engines: task definitions and metrics are lm-eval's, the model is whatever is loaded.

Nothing here imports lm-eval before a task is run, so that stored runs are scored without it.
"""
