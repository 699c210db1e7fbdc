"""The client of OpenAI-compatible endpoints: requests, retries, cache of verdicts, cost ledger."""
