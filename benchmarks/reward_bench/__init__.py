"""RewardBench 1 and 2: how reward models, preference models and judges order chosen and rejected answers."""
