"""What is remembered lives exactly as long as what it was made of."""

import gc
from weakref import ref

from agentkit.messages import Message, UserMessage
from agentkit.models._memo import IdentityMemo


def test_a_value_goes_with_its_object() -> None:
    memo: IdentityMemo[Message, bytes] = IdentityMemo(lambda message: b"bytes")
    message = UserMessage("Hi")
    assert memo.many([message, message]) == [b"bytes", b"bytes"]
    assert len(memo) == 1
    del message
    gc.collect()
    assert len(memo) == 0


def test_an_object_that_is_its_own_value_is_not_kept_alive() -> None:
    memo: IdentityMemo[Message, Message] = IdentityMemo(lambda message: message)
    message = UserMessage("Hi")
    alive = ref(message)
    assert memo.one(message) is message
    del message
    gc.collect()
    assert alive() is None
