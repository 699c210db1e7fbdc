"""Engines that score answers: reward models, preference models, implicit rewards of DPO policies."""
