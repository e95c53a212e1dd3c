"""Keys of services with different prefixes, and of Celery's queues beside Kombu's own keys."""

import pytest
from pydantic import ValidationError

from config.settings import RedisSettings
from workers.jobs.redis.keys import WEBHOOK_QUEUE, Keys, queue_name


@pytest.mark.parametrize("prefix", ["imagegen", "a", "team_b-2", "x" * 64])
def test_every_key_begins_with_the_prefix_and_a_sign_that_no_prefix_has(prefix: str) -> None:
    keys = Keys.of(RedisSettings(prefix=prefix))
    for key in (keys.layout, keys.job("x"), keys.owner_jobs("o"), keys.request_rates, keys.delivery("e")):
        assert key.startswith(f"{prefix}:")
    for key in (keys.messages("demo"), keys.webhook_messages):
        assert key.startswith(f"{prefix}.")


@pytest.mark.parametrize("prefix", ["", "a:b", "a.b", "a b", "a*", "[a]", "{a}", "-a", "é", "a\n", "x" * 65])
def test_other_prefixes_are_refused(prefix: str) -> None:
    with pytest.raises(ValidationError, match="prefix"):
        RedisSettings(prefix=prefix)


def test_the_queue_of_no_graph_has_the_name_of_another_key() -> None:
    graphs = ["demo", "_kombu.binding.demo", "_kombu", "%5Fkombu", ":webhooks", ":unacked", "a,b"]
    names = [queue_name(graph) for graph in graphs]
    assert len(set(names)) == len(graphs)
    assert not any(name.startswith(("_kombu", ":")) or "," in name for name in names)
    assert WEBHOOK_QUEUE not in names
