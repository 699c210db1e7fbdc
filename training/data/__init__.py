"""Training data: typed items, loaders, adapters of published preference sets, mixes, splits and checks.

::

    pairs = load_pairs("pairs.jsonl", on_bad="drop")
    print(len(pairs), pairs.report())
"""
