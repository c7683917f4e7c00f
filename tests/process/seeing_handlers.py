"""A handler that shows its context. Standard library only: real workers load it."""


class Seeing:
    """Shows what came with the call."""

    def see(self, *, context):
        return dict(context)
