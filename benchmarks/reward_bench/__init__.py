"""RewardBench 1 and 2. The way in: `reward_bench_1` and `reward_bench_2`, one benchmark each.

items       upstream's files (or the user's) become prompts that carry their answers
measuring   the engine at hand scores or compares the answers of an item; the options are here
outcomes    measurements become scores; checks that the model distinguished answers
sections    weights of subsets and sections, and the figures computed from them
*_importer  results that reward-bench and LLMBar wrote
"""
