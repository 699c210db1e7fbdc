"""keywords: an answer's reward is the number of the given words in it."""

from itertools import chain

from harness.errors import SpecError


class Keywords:
    """Ranks answers in `assay align`: ``ranker: {name: keywords, options: {words: [please, thanks]}}``."""

    name = "keywords"

    def __init__(self, options, context):
        unknown = sorted(set(options) - {"words"})
        if unknown or not options.get("words"):
            raise SpecError(f"ranker keywords: options {dict(options)}", "words, a list of at least one")
        self.words = [word.lower() for word in options["words"]]
        self.identity = {"ranker": "keywords", "version": 1, "words": self.words}

    def scores(self, answers):
        """Yield prompt key, number of the answer, reward, and why there is none."""
        for sample in chain.from_iterable(answers):
            said = sample.response.lower().split()
            yield sample.prompt_key, sample.sample, float(sum(said.count(word) for word in self.words)), ""
