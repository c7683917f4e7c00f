"""How a bridge is watched from outside: what it counts, for those who collect that, and whether it can serve.

Rules: only looks: what is here starts nothing, waits for nobody and keeps no bridge alive that isn't used. Public, and
loaded when it is named. Apart from the bridge itself, which knows of no format and no protocol but its own.
"""

from bridge.metrics.endpoints import asgi, wsgi
from bridge.metrics.exposition import prometheus

__all__ = ["asgi", "prometheus", "wsgi"]
