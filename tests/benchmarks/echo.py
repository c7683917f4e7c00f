"""The handler that the benchmarks call."""


class Echo:
    """Gives back what it gets."""

    def echo(self, value):  # type: ignore[no-untyped-def]
        """The value itself."""
        return value
