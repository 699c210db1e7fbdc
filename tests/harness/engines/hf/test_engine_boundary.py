"""Where a context ends and its continuation begins; against lm-eval's own encoding on every real tokenizer."""

from __future__ import annotations

import itertools

import pytest

from harness.engines.base import LogLikelihoodRequest
from harness.engines.hf.boundary import TokenPair, encode_requests, encode_text, prefix_token_id
from tests.paths import MODELS, needs_models
from tests.support.random_models import BOS, EOS, byte_tokenizer

MODEL_NAMES = ("neo3m-chat-hf", "stories260K-hf", "vanilla1m-byte-hf")
CONTEXTS = ("Once upon", "Once upon ", "Question: 2+2?\nAnswer:", "The  dog \n\n", "<s>Hi", "it's", "é", "a\t")
CONTINUATIONS = (" a time", "a time", " 4", "\n", "s", "日本", " ", "</s>")


@pytest.fixture(scope="module")
def tokenizer():
    return byte_tokenizer()


def encode_request(tokenizer, request) -> TokenPair:
    (pair,) = encode_requests(tokenizer, [request])
    if isinstance(pair, str):
        raise ValueError(pair)  # noqa: TRY004 - a reason, not a type
    return pair


def encode_pair(tokenizer, context, continuation) -> TokenPair:
    return encode_request(tokenizer, LogLikelihoodRequest("", context, continuation))


def test_trailing_space_moves_by_hand(tokenizer):
    pair = encode_pair(tokenizer, "ab ", "cd")
    assert tokenizer.decode(pair.context_ids) == "ab"
    assert tokenizer.decode(pair.continuation_ids) == " cd"


def test_an_empty_context_is_bos_else_eos(tokenizer):
    assert encode_pair(tokenizer, "", "a").context_ids == (BOS,)
    other = byte_tokenizer()
    other.bos_token = None
    assert prefix_token_id(other) == EOS
    assert encode_pair(other, "", "a").context_ids == (EOS,)


def test_an_empty_context_before_bos_takes_that_bos(tokenizer):
    pair = encode_pair(tokenizer, "", "<bos>a")
    assert pair.context_ids == (BOS,) and tokenizer.decode(pair.continuation_ids) == "a"


def test_a_context_of_white_space_is_an_empty_one(tokenizer):
    pair = encode_pair(tokenizer, " \n", "a")
    assert pair.context_ids == (BOS,) and tokenizer.decode(pair.continuation_ids) == " \na"


def test_nothing_to_score_or_to_condition_on_is_said(tokenizer):
    with pytest.raises(ValueError, match="no tokens of its own"):
        encode_pair(tokenizer, "a", "")
    bare = byte_tokenizer()
    bare.bos_token = bare.eos_token = None
    with pytest.raises(ValueError, match="neither a bos nor an eos"):
        encode_pair(bare, "", "a")


def test_given_ids_are_used_as_they_are(tokenizer):
    pair = encode_request(tokenizer, LogLikelihoodRequest("r", "x", "y", (1, 2), (3,)))
    assert (pair.context_ids, pair.continuation_ids) == ((1, 2), (3,))
    with pytest.raises(ValueError, match="the context has no tokens"):
        encode_request(tokenizer, LogLikelihoodRequest("r", "x", "y", (), (3,)))


@needs_models
@pytest.mark.parametrize("name", MODEL_NAMES)
def test_agrees_with_lm_eval(name):
    from lm_eval.models.huggingface import HFLM
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(MODELS / name)
    rival = HFLM.__new__(HFLM)  # its encoding needs a tokenizer alone, not a model
    rival.tokenizer, rival.backend, rival.add_bos_token, rival.custom_prefix_token_id = tokenizer, "causal", None, None
    compared = 0
    for context, continuation in itertools.product(CONTEXTS, CONTINUATIONS):
        if tokenizer.bos_token_id is None and tokenizer.eos_token_id is None:
            ids = tokenizer(context.rstrip())["input_ids"], tokenizer(context + continuation)["input_ids"]
            expected = ids[0], ids[1][len(ids[0]) :]
        else:
            expected = rival._encode_pair(context, continuation)
        if not expected[1]:
            with pytest.raises(ValueError):
                encode_pair(tokenizer, context, continuation)
            continue
        pair = encode_pair(tokenizer, context, continuation)
        assert (list(pair.context_ids), list(pair.continuation_ids)) == tuple(expected)
        compared += 1
    assert compared > 50


@needs_models
def test_no_second_bos():
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(MODELS / "stories260K-hf")
    assert encode_text(tokenizer, "Hi")[0] == tokenizer.bos_token_id
    assert encode_text(tokenizer, "<s>Hi").count(tokenizer.bos_token_id) == 1
