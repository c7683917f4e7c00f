"""A caller in a cgroup of its own, whose worker takes all the memory that this has: a program, for test_limits.py.

Prints, for each of three deaths, what the error says of it: two for want of memory, and one by a kill of somebody's.
The test makes the cgroup and removes it.
"""

import json
import sys

import bridge


def main(members: str, handler: str) -> None:
    """Go into the cgroup first: workers are in that of their caller."""
    with open(members, "w") as file:
        file.write("0")
    told = []
    with bridge.connect(handler, adapter="python_port", size=1) as b:
        for command, args in (("fill_memory", []), ("fill_memory", []), ("die", [9])):
            try:
                b.call(command, args)
            except bridge.WorkerCrashed as error:
                told.append((error.signal_name, error.out_of_memory, str(error)))
    print(json.dumps(told))


if __name__ == "__main__":
    main(*sys.argv[1:])
