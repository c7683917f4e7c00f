"""The pure core: decisions as functions of state, event and `now`.

Rules: nothing in this folder reads a clock, takes a lock, touches a file descriptor or starts anything. What has to
happen comes back as a value; the shells in bridge/runtime and bridge/channel.py make it happen.
"""
