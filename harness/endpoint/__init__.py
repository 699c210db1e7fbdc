"""The client of OpenAI-compatible endpoints: requests, retries, judgment cache, cost ledger."""
