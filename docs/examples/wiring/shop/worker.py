"""The handler. It runs in worker processes, and imports nothing from `bridge`."""

import os


class Labeller:
    """Loads a model once per worker, then labels texts."""

    def __init__(self, words=("bad", "broken", "late")):
        self.complaints = frozenset(words)  # stands for a model that takes seconds to load

    def label(self, text):
        """The label of one text."""
        hits = self.complaints.intersection(word.strip("!.,?") for word in text.lower().split())
        return {"label": "complaint" if hits else "praise", "pid": os.getpid()}
