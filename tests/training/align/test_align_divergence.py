"""Log ratios of drawn answers: against the models' own logits, what is scored, what is left out, and its mean: KL."""

from __future__ import annotations

import pytest
import torch

from harness.store.align_directory import Sample
from tests.support.random_models import END_OF_TURN, EOS
from tests.support.tiny_training import PLAIN, save_model
from training.align.divergence import Models, draw_log_ratios, read_log_ratios

OPTIONS = {"device": "cpu"}
PROMPT = [{"role": "user", "content": "why?"}]


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    return Models(save_model(folder / "a", seed=1), save_model(folder / "b", seed=2), OPTIONS)


def sample(number, response, finish="stop", n_tokens=None):
    length = len(response) + (finish == "stop") if n_tokens is None else n_tokens
    return Sample(
        prompt_key="p",
        prompt=PROMPT,
        sample=number,
        temperature=1.0,
        response=response,
        finish=finish,
        n_tokens=length,
        n_chars=len(response),
    )


def logprob(model, prompt, answer):
    """Sum of the log-probabilities of the answer's tokens, by transformers alone."""
    from transformers import AutoModelForCausalLM

    loaded = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
    ids = torch.tensor([prompt + answer])
    with torch.no_grad():
        scores = loaded(ids).logits[0].log_softmax(-1)
    return sum(float(scores[len(prompt) + i - 1, token]) for i, token in enumerate(answer))


def tokens(text):
    return _tokenizer()(text, add_special_tokens=False)["input_ids"]


def _tokenizer():
    from tests.support.random_models import byte_tokenizer

    return byte_tokenizer(PLAIN)


def test_is_the_difference_of_both_models_own_logits(models, tmp_path):
    samples = [sample(0, "because"), sample(1, "cut he", "length"), sample(2, "")]
    draw_log_ratios(samples, models, tmp_path)
    found = read_log_ratios(tmp_path)
    prompt = tokens("U:why?<end>A:")
    assert END_OF_TURN in prompt
    for number, answer in ((0, [*tokens("because"), EOS]), (1, tokens("cut he")), (2, [EOS])):
        expected = logprob(models.policy, prompt, answer) - logprob(models.reference, prompt, answer)
        assert found["p", number].value == pytest.approx(expected, abs=1e-4)
        assert found["p", number].n_tokens == len(answer)


def test_a_text_of_other_tokens_than_were_drawn_is_left_out(models, tmp_path):
    draw_log_ratios([sample(0, "ab", n_tokens=7), sample(1, "ab")], models, tmp_path)
    assert set(read_log_ratios(tmp_path)) == {("p", 1)}
    assert "7 tokens were sampled and the answer's text has 3" in (tmp_path / "policy-logprobs.jsonl").read_text()


def test_white_space_that_was_taken_off_the_answer_is_scored(models, tmp_path):
    drawn = sample(0, "ab", n_tokens=5).model_copy(update={"drawn": " ab\n"})
    draw_log_ratios([drawn], models, tmp_path)
    prompt, answer = tokens("U:why?<end>A:"), [*tokens(" ab\n"), EOS]
    expected = logprob(models.policy, prompt, answer) - logprob(models.reference, prompt, answer)
    assert read_log_ratios(tmp_path)["p", 0].value == pytest.approx(expected, abs=1e-4)


def test_failed_answers_are_passed_over_and_stored_ones_not_scored_again(models, tmp_path, monkeypatch):
    failed = Sample(prompt_key="p", prompt=PROMPT, sample=9, temperature=1.0, finish="error", error="gone")
    draw_log_ratios([sample(0, "ab"), failed], models, tmp_path)
    first = (tmp_path / "policy-logprobs.jsonl").read_text()
    draw_log_ratios([sample(0, "ab"), sample(1, "cd"), failed], models, tmp_path)
    assert (tmp_path / "policy-logprobs.jsonl").read_text().startswith(first)
    assert set(read_log_ratios(tmp_path)) == {("p", 0), ("p", 1)}
    monkeypatch.setattr("training.align.divergence.HFEngine.from_options", lambda *_: pytest.fail("a model was loaded"))
    draw_log_ratios([sample(0, "ab"), sample(1, "cd"), failed], models, tmp_path)


def test_its_mean_over_draws_is_the_divergence(models, tmp_path):
    """Answers of one token, drawn exactly: the mean log ratio is the sum over tokens of p (log p - log q)."""
    from transformers import AutoModelForCausalLM

    prompt = torch.tensor([tokens("U:why?<end>A:")])
    with torch.no_grad():
        p, q = (
            AutoModelForCausalLM.from_pretrained(m, dtype=torch.float32)(prompt).logits[0, -1].log_softmax(-1)
            for m in (models.policy, models.reference)
        )
    letters = {token: chr(b) for b in range(33, 127) if (token := tokens(chr(b))[0]) is not None}
    # the divergence of the two distributions over printable letters, and draws from the policy's
    kept = torch.tensor(list(letters))
    mass = p[kept].exp() / p[kept].exp().sum()
    exact = float((mass * (p[kept] - q[kept])).sum())
    draws = kept[torch.multinomial(mass, 4000, replacement=True, generator=torch.Generator().manual_seed(0))]
    counted = {token: int((draws == token).sum()) for token in letters}
    samples = [sample(i, letters[token], "length") for i, token in enumerate(letters)]
    draw_log_ratios(samples, models, tmp_path)
    found = read_log_ratios(tmp_path)
    ratios = torch.tensor([found["p", i].value for i in range(len(letters))])
    weights = torch.tensor([counted[token] / 4000 for token in letters])
    mean = float((weights * ratios).sum())
    error = float(((weights * (ratios - mean) ** 2).sum() / 4000) ** 0.5)
    assert abs(mean - exact) < 4 * error
    assert float((mass * ratios).sum()) == pytest.approx(exact, abs=1e-4)
