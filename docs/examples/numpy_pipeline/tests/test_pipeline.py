"""Arrays in and out, in whatever mode the run is in; and where their memory is, which only processes can show."""

from __future__ import annotations

from contextlib import ExitStack
from mmap import mmap
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pipeline import Pipeline
from stages import blur, normalise

from bridge import Bridge

LONG = (512, 512)
"""Of a frame above 128 KiB, from where on memory is shared."""


def noise(*shape: int) -> NDArray[Any]:
    """The same each time."""
    made: NDArray[Any] = np.random.default_rng(1).normal(size=shape)
    return made


def test_a_frame_keeps_its_shape(bridge_client: Bridge) -> None:
    """True of the fake and of the real stages; also of a frame that lies in memory with gaps."""
    pipeline, frame = Pipeline(bridge_client), noise(40, 60)

    assert pipeline.clean(frame).shape == (40, 60)
    assert pipeline.clean(frame[::2].T).shape == (60, 20)
    assert [cleaned.shape for cleaned in pipeline.clean_all(noise(5, 4, 6))] == [(4, 6)] * 5


@pytest.mark.bridge_adapter("python_port", size=2)
def test_workers_compute_what_the_stages_do(bridge_client: Bridge) -> None:
    """Long frames and short ones, one by one and many at once, are those that this process would make."""
    pipeline = Pipeline(bridge_client)
    for frames in (noise(12, *LONG), noise(200, 4, 6)):
        expected = [blur(normalise(frame)) for frame in frames]

        np.testing.assert_array_equal(pipeline.clean(frames[0]), expected[0])
        np.testing.assert_array_equal(list(pipeline.clean_all(frames)), expected)


@pytest.mark.bridge_adapter("python_port", size=1)
def test_a_result_is_a_view_of_shared_memory(bridge_client: Bridge) -> None:
    """Nothing was copied since the worker wrote it. (Its first long result tells the worker that they are long.)"""
    pipeline, frame = Pipeline(bridge_client), noise(*LONG)
    pipeline.clean(frame)
    result = bridge_client.call("normalise", [frame])
    array = np.asarray(result)

    assert isinstance(result, memoryview)
    assert isinstance(result.obj, mmap)
    assert np.shares_memory(array, np.frombuffer(result.obj, np.uint8))
    assert (array.flags.owndata, array.flags.writeable) == (False, False)


@pytest.mark.bridge_adapter("python_port", size=1)
def test_a_view_stays_what_it_is(bridge_client: Bridge) -> None:
    """Its memory isn't used again before nothing refers to it: not by later calls, nor when the bridge is closed."""
    pipeline, frames = Pipeline(bridge_client), noise(4, *LONG)
    views = [pipeline.clean(frame) for frame in frames]
    bridge_client.close()

    np.testing.assert_array_equal(views, [blur(normalise(frame)) for frame in frames])


@pytest.mark.bridge_adapter("python_port", size=2)
def test_one_process_imports_numpy(bridge_client: Bridge) -> None:
    """The zygote, from which both workers are forked. Without `start_method` each would import it."""
    with ExitStack() as stack:
        leases = [stack.enter_context(bridge_client.lease()) for _ in range(2)]
        origins = [lease.call("origin") for lease in leases]
    (first, one), (second, two) = origins

    assert first == second
    assert len({first, one, two}) == 3
