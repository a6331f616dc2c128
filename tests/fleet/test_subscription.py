"""The connection that listens: whether it was made, and whether it still lives."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from probekit._fleet.client import Source
from probekit._fleet.store import Store, Subscription
from probekit._fleet.wire import keys_of

if TYPE_CHECKING:
    from tests.checks._servers import RedisServer


def test_a_subscription_that_says_nothing_is_noticed(redis: RedisServer) -> None:
    """A connection that is cut without a word, as by a firewall, answers no ping."""
    source = Source(redis.url, timeout=0.3)
    with Store(source, keys_of("shop")) as store:
        subscription = store.subscription()
        subscription.check()
        assert subscription.wait(1) is False
        subscription.check()
        redis.pause()
        try:
            subscription.wait(0.05)  # the answer that was under way
            subscription.check()
            assert subscription.wait(0.05) is False
            with pytest.raises(Exception, match="does not answer in time"):
                subscription.check()
        finally:
            redis.resume()


def test_a_subscription_that_is_not_confirmed_is_none(redis: RedisServer) -> None:
    """A Redis that hangs just then is noticed after the timeout."""
    source = Source(redis.url, timeout=0.3)
    with Store(source, keys_of("shop")) as store:
        store.now()
        pubsub: Any = store._client.pubsub()
        pubsub.ping()  # connected before it hangs
        redis.pause()
        try:
            with pytest.raises(Exception, match="does not answer in time"):
                Subscription(source, "turned", pubsub)
        finally:
            redis.resume()
