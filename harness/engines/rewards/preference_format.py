"""The prompt of a preference model for a pair of answers, and the token that names the better one.

Paper            Dong et al., "RLHF Workflow", arXiv 2405.07863, section 2.1
Upstream         RLHFlow/RLHF-Reward-Modeling, folder pair-pm (Apache-2.0): the layout of a context of several turns

The text is a user's message; the assistant's answer to it is the one letter "A" or "B". Training and inference use
this function: with another layout than in training, a model answers at random.
"""

from __future__ import annotations

from collections.abc import Sequence

from harness.messages import Message

LABELS = ("A", "B")
"""The answer that says the first shown is better, and the one that says the second is."""


def preference_context(messages: Sequence[Message]) -> str:
    """Write the conversation in the format: a line naming the role, then the text.

    Parameters
    ----------
    messages : sequence of Message
        The conversation, which ends with the user's turn.

    Returns
    -------
    str
    """
    return "\n" + "".join(f"\n<turn> {message.role}\n {message.content}" for message in messages) + "\n"


def preference_prompt(messages: Sequence[Message], first: str, second: str) -> str:
    r"""Write two answers to a conversation as the instruction a preference model is trained on.

    Parameters
    ----------
    messages : sequence of Message
        The conversation, which ends with the user's turn.
    first, second : str
        The answers, in the order shown.

    Returns
    -------
    str
        ``[CONTEXT] x [RESPONSE A] a1 [RESPONSE B] a2``, which is sent to the model as a user's message.

    Examples
    --------
    >>> preference_prompt([Message("user", "1+1?")], "2", "3")
    '[CONTEXT] \n\n<turn> user\n 1+1?\n [RESPONSE A] 2 [RESPONSE B] 3 \n'
    """
    return f"[CONTEXT] {preference_context(messages)} [RESPONSE A] {first} [RESPONSE B] {second} \n"


def preference_messages(messages: Sequence[Message], first: str, second: str) -> tuple[Message, ...]:
    """Write the same as a conversation whose next assistant turn is one of `LABELS`."""
    return (Message("user", preference_prompt(messages, first, second)),)
