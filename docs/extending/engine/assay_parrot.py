"""parrot: an engine that repeats what it is told, at most `words` words of it."""

from harness.engines.base import Fingerprint, Generation, LogLikelihood
from harness.errors import SpecError


class Parrot:
    name = "parrot"

    def __init__(self, label, words):
        self.words = words
        self.fingerprint = Fingerprint(label, "parrot", self.name, options={"words": words})

    @classmethod
    def from_options(cls, values):
        unknown = sorted(set(values) - {"model", "name", "words"})
        if unknown:
            raise SpecError(f"the engine parrot has no option {', '.join(unknown)}", "words")
        return cls(values.get("name") or "parrot", int(values.get("words", 50)))

    def generate(self, requests):
        for request in requests:
            said = (request.text or request.messages[-1].content).split()
            finish = "stop" if len(said) <= self.words else "length"
            yield Generation(request.request_id, " ".join(said[: self.words]), finish, n_tokens=len(said))

    def loglikelihood(self, requests):
        for request in requests:
            yield LogLikelihood(request.request_id, None, None, 0, error="a parrot has no probabilities")

    def close(self):
        """Free the model."""
