"""The exposition, read by Prometheus' own Python client."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families

import bridge
from bridge.metrics import prometheus
from bridge.metrics.exposition import FAMILIES
from tests.metrics.exposition import read
from tests.metrics.test_prometheus import ODD, PLAIN


def test_the_client_reads_what_our_reader_reads() -> None:
    """Each sample with its labels and its value, of two bridges, one with an odd name. Fails when an escape goes."""
    text = prometheus(PLAIN, bridge.Stats(**{**vars(PLAIN), "name": ODD, "sent_again": {ODD: 3}}))
    ours = {
        (name, labels): number for family in read(text).values() for (name, labels), number in family.samples.items()
    }

    theirs = {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }

    assert theirs == ours


def test_the_client_knows_the_types() -> None:
    """A counter without `_total`, or a histogram whose parts are apart, would be of an unknown type there."""
    kinds = {family.name: family.type for family in text_string_to_metric_families(prometheus(PLAIN))}
    shown = [family for family in FAMILIES if not family.name.startswith("bridge_host")]  # PLAIN has no hosts

    assert kinds == {family.name.removesuffix("_total"): family.kind for family in shown}
