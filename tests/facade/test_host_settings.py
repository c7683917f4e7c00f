"""The setting `pool.hosts`: how it is given, and what a mistake is told."""

from __future__ import annotations

from typing import Any

import pytest

import bridge
from bridge import BridgeSettings, ConfigurationError

A, B = {"launcher": "ssh a", "size": 3}, {"launcher": ["ssh", "-p", "22", "b"], "name": "b"}


def pool_of(**pool: Any) -> Any:
    return BridgeSettings(pool=pool).pool


def test_a_host_has_a_launcher_a_size_and_a_name() -> None:
    """Text is split as a shell would; the name is the launcher if there is none; the pool's size is the sum."""
    pool = pool_of(hosts=[A, B, {"size": 1}])

    assert [(host.label, host.size, host.launcher) for host in pool.hosts] == [
        ("ssh a", 3, ("ssh", "a")),
        ("b", 4, ("ssh", "-p", "22", "b")),
        ("here", 1, ()),
    ]
    assert pool.workers == 8
    assert pool_of(size=3).workers == 3


def test_hosts_come_from_the_environment_as_json(monkeypatch: pytest.MonkeyPatch) -> None:
    """And what isn't JSON is told so."""
    monkeypatch.setenv("BRIDGE_POOL__HOSTS", '[{"launcher": "ssh a", "size": 3}, {"name": "b"}]')
    assert [host.label for host in BridgeSettings.load().pool.hosts] == ["ssh a", "b"]

    monkeypatch.setenv("BRIDGE_POOL__HOSTS", "ssh a")
    with pytest.raises(ConfigurationError) as caught:
        BridgeSettings.load()
    assert str(caught.value) == (
        "the environment (BRIDGE_POOL__HOSTS): pool.hosts is written as JSON, such as "
        """[{"launcher": "ssh host", "size": 4}], not 'ssh a'"""
    )


@pytest.mark.parametrize(
    ("pool", "message"),
    [
        ({"hosts": [A], "size": 4}, "make 3 workers, and size=4: leave `size` out"),
        ({"hosts": [A], "max_overflow": 1}, "hosts and max_overflow: no host has more than its size"),
        ({"hosts": [A], "spare": 1}, "hosts and spare"),
        ({"hosts": [A, A]}, "two hosts that are called 'ssh a': give each a `name`"),
        ({"hosts": [{"size": 1}, {"name": "here"}]}, "two hosts that are called 'here'"),
        ({"hosts": [{"size": 4000}, {"size": 4000, "name": "x"}]}, "make 8000 workers, and 4096 is the most"),
        ({"hosts": [{"sise": 3}]}, r"pool\.hosts\.0\.sise is no setting; did you mean 'size'"),
        ({"hosts": [{"size": 0}]}, r"pool\.hosts\.0\.size: .*, not 0"),
        ({"hosts": [{"name": ""}]}, r"pool\.hosts\.0\.name is empty"),
        ({"hosts": [{"launcher": "ssh 'a"}]}, r"pool\.hosts\.0\.launcher \"ssh 'a\" can't be split"),
        ({"hosts": ["ssh a"]}, r"pool\.hosts\.0 is a mapping, not 'ssh a'"),
        (
            {"hosts": [{"launcher": 3}]},
            r"pool\.hosts\.0\.launcher is a text such as 'ssh host', or a list of texts, not 3",
        ),
        ({"hosts": A}, r"pool\.hosts is a list, as in hosts=\[\.\.\.\], not \{'launcher'"),
    ],
)
def test_a_mistake_is_told(pool: dict[str, Any], message: str) -> None:
    """With the place, and with what to do. Nothing is started."""
    with pytest.raises(ConfigurationError, match=message):
        pool_of(**pool)


def test_hosts_with_launchers_have_no_zygote() -> None:
    """It forks right here. Fails when a launcher is silently left out."""
    with pytest.raises(ConfigurationError, match="behind a launcher, start_method='zygote' forks"):
        bridge.connect("m:H", adapter="mock", hosts=[A, {"size": 1}], start_method="zygote")

    bridge.connect("m:H", adapter="mock", hosts=[{"size": 1}], start_method="zygote").close()


def test_a_launcher_is_said_for_all_or_for_each_host() -> None:
    """Not both. Fails when one of them is silently left out."""
    with pytest.raises(ConfigurationError, match=r"leave worker\.launcher out, each host has its own"):
        BridgeSettings(pool={"hosts": [A]}, worker={"launcher": "nice"})


def test_a_size_that_is_the_sum_is_no_mistake() -> None:
    """Whoever says both, and the same, has said nothing wrong."""
    assert pool_of(hosts=[A], size=3).workers == 3


def test_hosts_can_be_given_to_connect_and_changed_in_a_scope() -> None:
    """By its leaf name, as any setting. Fails when a validated list isn't valid when it is validated again."""
    mock = bridge.MockAdapter({"x": 1})
    with bridge.connect("m:H", adapter=mock, hosts=[A, B]) as b:
        b.call("x")
        assert (b.stats().size, len(b.stats().hosts)) == (7, 2)

    changed = BridgeSettings(pool={"hosts": [A, B]}).with_changes({"pool": {"hosts": [], "size": 2}})
    assert (changed.pool.workers, changed.pool.hosts) == (2, ())
    assert BridgeSettings(pool={"hosts": [A, B]}).with_changes({"pool": {"prewarm": 1}}).pool.workers == 7
