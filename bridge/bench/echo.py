"""The handler that is called. It runs in workers.

Rules: no imports, so that what a worker costs is ours. Apart from the peers, whose functions are found by import.
"""


class Echo:
    """Gives back what it gets."""

    def echo(self, value):  # type: ignore[no-untyped-def]
        """The value itself."""
        return value
