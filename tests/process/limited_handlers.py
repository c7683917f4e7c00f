"""Handlers that use up what they may use. They run in a worker: nothing here is imported by a test."""

import os


class Limited:
    """Uses too much."""

    def die(self, number):
        os.kill(os.getpid(), number)

    def fill_memory(self):
        with open("/proc/self/oom_score_adj", "w") as file:
            file.write("1000")  # of all that are in this cgroup, take me
        kept = [b"x" * 2**20 for _ in range(1024)]  # and no more, if that is no small cgroup after all
        return len(kept)
