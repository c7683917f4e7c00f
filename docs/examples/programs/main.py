"""The program: `python -m main`."""

from __future__ import annotations

import os
import signal

from service import Programs, make_container

TEXT = "Paris is the capital of France. Rome is the capital of Italy."


def main() -> None:
    """Keep a program in a session, and kill the workers under it."""
    with make_container() as container:
        b = container.bridge()
        ada = Programs(b, "ada")
        ada.create("facts", "question, context -> answer", "Answer from the context.")
        print(ada.execute("facts", question="What is the capital of Italy?", context=TEXT)["answer"])

        for worker in b.stats().workers:
            if worker.pid is not None:  # a mock has none
                os.kill(worker.pid, signal.SIGKILL)
        print(ada.execute("facts", question="What is the capital of France?", context=TEXT)["answer"])
        print([f"{program.name}: {program.runs} runs" for program in ada.list()])

        ada.delete("facts")
        print(ada.list(), Programs(b, "bo").list())


if __name__ == "__main__":
    main()
