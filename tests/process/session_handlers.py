"""A handler that keeps states, and can be held in a call. Standard library only: real workers load it."""

import os
import threading
import time


class Counting:
    """Counts in its session; writes to its diary what the hooks of sessions are told."""

    def __init__(self, diary=""):
        self._diary = diary

    def on_session_start(self, key, session):
        self._note("start", key, session)

    def on_session_end(self, key, session):
        self._note("end", key, session)

    def _note(self, what, key, session):
        if self._diary:
            with open(self._diary, "a") as file:
                file.write(f"{what} {key} {session.get('n')}\n")

    def bump(self, *, session):
        """One more, and where."""
        session["n"] = session.get("n", 0) + 1
        return [session["n"], os.getpid()]

    def held(self, fifo, *, session=None):
        """Count, and return when somebody has written to that fifo."""
        if session is not None:
            session["n"] = session.get("n", 0) + 1
        with open(fifo) as file:
            file.read()
        return os.getpid()

    def stuck(self, *, session):
        """Count, and never return; a cancel ends it."""
        session["n"] = session.get("n", 0) + 1
        while True:
            threading.Event().wait(0.01)

    def linger(self, seconds, *, session):
        """Count, and take that long to end when it is cancelled."""
        session["n"] = session.get("n", 0) + 1
        try:
            while True:
                threading.Event().wait(0.01)
        finally:
            until = time.monotonic() + seconds
            while time.monotonic() < until:
                threading.Event().wait(0.01)

    def both(self, state, result, *, session):
        """A state and a result of so many bytes."""
        session["text"] = "x" * state
        return "y" * result

    def die(self, *, session):
        """Count, and end the process."""
        session["n"] = session.get("n", 0) + 1
        os._exit(3)

    def look(self, *, session):
        """The state."""
        return dict(session)

    def keep(self, *values, session):
        """A set, which only a pickle carries."""
        session.setdefault("set", set()).update(values)
        return sorted(session["set"])

    def pid(self):
        """Of the worker."""
        return os.getpid()

    def ask(self, name, *, session, parent):
        """Ask the caller, in a session."""
        try:
            return parent.call(name)
        except parent.Error as error:
            return error.kind

    def numbers(self, count, *, session):
        """So many, each counted."""
        for number in range(count):
            session["n"] = number + 1
            yield number
