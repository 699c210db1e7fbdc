"""When a policy tests its rules: what is accepted, what is refused, and that older policies mean what they did."""

from __future__ import annotations

import pytest

from harness.errors import SpecError
from harness.gate.policy import make_policy

RULES = {"rules": [{"improve": {"benchmark": "alpaca_eval", "metric": "win_rate"}}]}


def policy(**fields):
    return make_policy({**RULES, "method": "group_sequential", **fields})


def test_a_policy_without_looks_is_stored_as_it_was():
    old = make_policy(RULES)
    assert old.method == "fixed"
    stored = old.model_dump(mode="json")
    assert not {"method", "looks", "spending", "gamma", "futility"} & set(stored)


def test_looks_are_stored_and_read_back():
    planned = policy(looks=[0.25, 0.5], spending="hwang_shih_decani", gamma=1.0, futility={})
    assert planned.n_looks == 3
    stored = planned.model_dump(mode="json")
    fields = {name: stored[name] for name in ("looks", "gamma", "futility")}
    assert policy(**fields) == planned
    assert planned.model_copy(update={"alpha": 0.01}).spending_function().gamma == 1.0
    assert policy(looks=[0.5, 1.0]).n_looks == 2
    assert policy().n_looks == 10


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"looks": [0.5, 0.2]}, "go back in time"),
        ({"looks": [0.5, 0.5]}, "go back in time"),
        ({"looks": [0.5, 100]}, "either all are shares"),
        ({"looks": []}, "an empty list"),
        ({"looks": [0, 0.5]}, "a look needs prompts"),
        ({"looks": 0}, "from 1 to 100"),
        ({"looks": True}, "a number of looks"),
        ({"looks": "many"}, "a number of looks"),
        ({"looks": 2, "spending": [0.1, 1.2]}, "spends 1.2 times alpha"),
        ({"looks": 2, "spending": [0.5, 0.1]}, "cannot fall"),
        ({"looks": 2, "spending": [0.5]}, "1 shares of alpha for 2 looks"),
        ({"spending": "pocok"}, "did you mean pocock"),
        ({"spending": "pocock", "gamma": 2}, "gamma is the parameter"),
        ({"alpha": 0}, "greater than 0"),
        ({"method": "fixed", "looks": 5}, "looks without method: group_sequential"),
        ({"method": "sequential"}, "fixed"),
        ({"futility": {"power": 0.3}}, "greater than 0.5"),
    ],
)
def test_wrong_fields_are_refused(fields, said):
    with pytest.raises(SpecError) as caught:
        policy(**fields)
    assert said in str(caught.value)
