"""Telling copies from news while two connections carry one subscription."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from nats_rotating_client.subscription import Copies, content_identity


@given(st.integers(0, 30), st.data())
def test_every_message_is_news_exactly_once(count: int, data: st.DataObject) -> None:
    """The first hears a beginning, the second an end, overlapping: together each message once."""
    messages = [content_identity("s", "", str(number).encode()) for number in range(count)]
    begins = data.draw(st.integers(0, count))  # where the second starts to hear
    ends = data.draw(st.integers(begins, count))  # where the first ceases to
    copies = Copies()
    for key in messages[begins:ends]:
        copies.note(key)
    news = [key for key in messages[begins:] if not copies.take(key)]
    assert messages[:ends] + news == messages
    assert len(copies) == 0


@given(st.lists(st.integers(0, 3), max_size=20), st.lists(st.integers(0, 3), max_size=20))
def test_no_message_is_called_a_copy_more_often_than_it_came(
    first: list[int], second: list[int]
) -> None:
    """Equal messages are counted, not merged: n of them on the first excuse n on the second."""
    copies = Copies()
    for key in first:
        copies.note(key)
    flagged = [key for key in second if copies.take(key)]
    assert all(flagged.count(key) == min(first.count(key), second.count(key)) for key in range(4))


@given(st.binary(max_size=8), st.dictionaries(st.text(max_size=4), st.text(max_size=4)))
def test_identity_depends_on_every_part(payload: bytes, headers: dict[str, str]) -> None:
    """Subject, reply, payload and headers all tell messages apart."""
    own = content_identity("s", "r", payload, headers=headers)
    assert own == content_identity("s", "r", bytes(payload), headers=dict(headers))
    assert own != content_identity("t", "r", payload, headers=headers)
    assert own != content_identity("s", "", payload, headers=headers)
    assert own != content_identity("s", "r", payload + b"x", headers=headers)
    assert own != content_identity("s", "r", payload, headers={**headers, "longer": "x"})
