"""The transformers engine: loading, batched decoding, log-likelihoods."""
