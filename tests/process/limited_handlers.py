"""Handlers that say what they may use, and use it up. They run in a worker: nothing here is imported by a test."""

import os
import resource
import signal

AT_IMPORT = {name: resource.getrlimit(getattr(resource, name)) for name in dir(resource) if name.startswith("RLIMIT_")}
MASK_AT_IMPORT = os.umask(0)
os.umask(MASK_AT_IMPORT)


class Limited:
    """Knows its limits."""

    def limit(self, name):
        return AT_IMPORT[name]

    def umask(self):
        return MASK_AT_IMPORT

    def niceness(self):
        return os.nice(0)

    def pid(self):
        return os.getpid()

    def names(self):
        return sorted(os.environ)

    def value(self, name):
        return os.environ.get(name)

    def raise_back(self, name):
        if os.getuid() == 0:
            os.setuid(65534)  # root may do anything
        number = getattr(resource, name)
        soft, hard = resource.getrlimit(number)
        resource.setrlimit(number, (soft, hard + 1))

    def hoard(self):
        kept = []
        while True:
            kept.append(list(range(100)))

    def spin(self):
        while True:
            pass

    def spin_on(self):
        signal.signal(signal.SIGXCPU, signal.SIG_IGN)
        self.spin()

    def die(self, number):
        os.kill(os.getpid(), number)

    def fill_memory(self):
        with open("/proc/self/oom_score_adj", "w") as file:
            file.write("1000")  # of all that are in this cgroup, take me
        kept = [b"x" * 2**20 for _ in range(1024)]  # and no more, if that is no small cgroup after all
        return len(kept)


class Hungry:
    """Needs more than it may have, at its start."""

    def __init__(self):
        kept = []
        while True:
            kept.append(list(range(100)))


class Speechless:
    """Ends at its start, as an interpreter does that has no memory for a last word."""

    def __init__(self):
        os._exit(1)
