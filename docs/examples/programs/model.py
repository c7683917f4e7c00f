"""A stand-in for a language model: deterministic, so that tests can say what it answers."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

SENTENCE: Final = re.compile(r"[^.!?]+[.!?]?")


def words(text: str) -> set[str]:
    """The words of a text, in lower case."""
    return set(re.findall(r"\w+", text.lower()))


class StandIn:
    """Answers in the inputs' own words. A real model would be loaded in `__init__`, once for each worker."""

    def complete(self, field: str, instructions: str, inputs: Mapping[str, str]) -> str:
        """The sentence that has most in common with what is asked; of equals the first.

        Args:
            field: Name of the output that is wanted.
            instructions: What the program was told to do.
            inputs: The first one asks, the others are searched; a single one is both.
        """
        question, *texts = inputs.values()
        asked = words(f"{field} {instructions} {question}")
        sentences = [found.strip() for text in texts or [question] for found in SENTENCE.findall(text)]
        return max(sentences, key=lambda sentence: len(asked & words(sentence)), default="")
