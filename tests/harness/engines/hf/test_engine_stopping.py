"""Stop tokens a checkpoint declares; stop strings across token boundaries."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from harness.engines.hf.decode_job import DecodeJob
from harness.engines.hf.stopping import StopStrings, TokenText, cut_at_stop, declared_stop_ids
from harness.messages import Sampling
from tests.paths import MODELS, needs_models
from tests.support.random_models import END_OF_TURN, EOS, byte_tokenizer


def fake_model(config_eos, generation_eos):
    config = SimpleNamespace(eos_token_id=config_eos)
    config.get_text_config = lambda decoder: config
    return SimpleNamespace(config=config, generation_config=SimpleNamespace(eos_token_id=generation_eos))


@pytest.mark.parametrize(
    ("config_eos", "generation_eos", "expected"),
    [
        (None, None, {EOS}),
        (5, None, {EOS, 5}),
        ([5, 6], 7, {EOS, 5, 6, 7}),
        (5, [5, END_OF_TURN], {EOS, 5, END_OF_TURN}),
        (-1, None, {EOS}),
    ],
)
def test_every_declared_end_is_one(config_eos, generation_eos, expected):
    assert declared_stop_ids(fake_model(config_eos, generation_eos), byte_tokenizer()) == expected


def test_named_end_tokens_and_the_templates_end_count_image_tokens_do_not():
    tokenizer = SimpleNamespace(
        eos_token_id=None,
        special_tokens_map={"eot_token": "<|eot|>", "eoi_token": "<end_of_image>", "pad_token": "<pad>"},
        convert_tokens_to_ids={"<|eot|>": 11, "<end_of_image>": 12, "<pad>": 13}.get,
    )
    assert declared_stop_ids(fake_model(None, None), tokenizer, [4]) == {4, 11}
    assert declared_stop_ids(SimpleNamespace(config=fake_model(None, None).config), tokenizer) == {11}


@pytest.fixture(scope="module")
def text() -> TokenText:
    return TokenText(byte_tokenizer())


def ids(text: TokenText, words: str) -> list[int]:
    return text._tokenizer(words, add_special_tokens=False)["input_ids"]


@pytest.mark.parametrize("stop", ["lo w", "ö", "<<", "\n\n", "d", " ", "日本"])
def test_found_at_the_token_that_completes_it(text, stop):
    whole = "x" * 40 + "hellö lo world <<\n\nend日本"
    sequence = ids(text, whole)
    watcher = StopStrings(text, (stop,))
    first = next(n for n in range(1, len(sequence) + 1) if watcher.found(sequence[:n]))
    assert first == len(whole[: whole.index(stop) + len(stop)].encode())
    assert cut_at_stop(text.decode(sequence[:first]), (stop,)) == whole[: whole.index(stop)]


def test_the_earliest_of_several_cuts():
    assert cut_at_stop("one two three", ("three", "two", "")) == "one "
    assert cut_at_stop("one", ("two", "")) is None


def test_no_stop_strings_are_never_found(text):
    assert not StopStrings(text, ()).found(ids(text, "abc"))
    assert not StopStrings(text, ("",)).found(ids(text, "abc"))


@pytest.mark.parametrize("model", ["stories260K-hf", "neo3m-chat-hf"])
@needs_models
def test_real_tokenizers_with_merged_tokens(model):
    from transformers import AutoTokenizer

    text = TokenText(AutoTokenizer.from_pretrained(MODELS / model))
    whole = "Once upon a time, there was a little girl. She said: hello! Then\nthey all went home."
    sequence = ids(text, whole)
    decoded = text.decode(sequence)
    for stop in ("time, th", "e gi", "\nthey", "! T", ". ", "home.", " "):
        watcher = StopStrings(text, (stop,))
        first = next(n for n in range(1, len(sequence) + 1) if watcher.found(sequence[:n]))
        assert stop in text.decode(sequence[:first]) and stop not in text.decode(sequence[: first - 1])
        assert cut_at_stop(decoded, (stop,)) == decoded[: decoded.index(stop)]


def job(text: TokenText, limit: int = 100, stop: tuple[str, ...] = ()) -> DecodeJob:
    return DecodeJob("r", [1], Sampling(max_tokens=limit, stop=stop), limit, frozenset({EOS}), text)


def run(job: DecodeJob, sequence: list[int]) -> DecodeJob:
    for token_id in sequence:
        job.push(token_id)
        if job.done:
            break
    return job


def test_a_job_ends_on_eos_which_counts_as_a_token(text):
    generation = run(job(text), [*ids(text, " hi \n"), EOS, *ids(text, "more")]).generation()
    assert (generation.text, generation.finish, generation.n_tokens, generation.n_prompt_tokens) == (
        " hi \n",
        "stop",
        6,
        1,
    )
    assert generation.seed is None and generation.error == ""


def test_a_job_ends_at_its_limit(text):
    generation = run(job(text, limit=3), ids(text, "abcdef")).generation()
    assert (generation.text, generation.finish, generation.n_tokens) == ("abc", "length", 3)


def test_eos_as_the_last_token_allowed_is_a_stop(text):
    assert run(job(text, limit=3), [*ids(text, "ab"), EOS]).finish == "stop"


def test_a_stop_string_that_is_a_special_token_ends_a_job(text):
    """Decoding leaves special tokens out, so text alone would never show it."""
    generation = run(job(text, stop=("<end>",)), [*ids(text, "ab"), END_OF_TURN, *ids(text, "cd")]).generation()
    assert (generation.text, generation.finish, generation.n_tokens) == ("ab", "stop", 3)


def test_a_stop_string_is_cut_off_with_what_follows(text):
    generation = run(job(text, stop=("\nUser:",)), ids(text, "fine\nUser: and you")).generation()
    assert (generation.text, generation.finish, generation.n_tokens) == ("fine", "stop", len("fine\nUser:"))


def test_a_running_job_has_no_result(text):
    with pytest.raises(ValueError, match="still running"):
        job(text).generation()
