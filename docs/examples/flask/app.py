"""The application: `flask run`, or any WSGI server with `app:make_app()`."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Flask, current_app, jsonify, request
from flask.typing import ResponseReturnValue

from bridge import Bridge, BridgeContainer, BridgeError, BridgeSettings

DEFAULTS = {
    "worker": {"handler": "darts:Darts", "fake": "fake:FakeDarts"},
    "pool": {"size": 2, "max_waiting": 100},  # beyond that a request is refused at once
}

pages = Blueprint("pages", __name__)


def workers() -> Bridge:
    """The application's bridge, which all threads of the server use at the same time."""
    bridge: Bridge = current_app.extensions["bridge"].bridge()
    return bridge


@pages.post("/estimates")
def estimate() -> ResponseReturnValue:
    """One estimate. Its thread waits, and holds no lock meanwhile; the computing is in another process."""
    order: Any = request.get_json()
    points, seed = order.get("points"), order.get("seed", 0)
    if type(points) is not int or points <= 0 or type(seed) is not int:
        return jsonify(detail="points is a positive integer, seed an integer"), 422
    pi = workers().call("estimate", {"points": points, "seed": seed}, timeout=30, returns=float)
    return jsonify(points=points, pi=pi)


@pages.get("/health")
def health() -> ResponseReturnValue:
    """For a load balancer."""
    found = workers().health()
    return jsonify(ok=found.ok, ready=found.ready, breaker=found.breaker), 200 if found.ok else 503


@pages.app_errorhandler(BridgeError)
def answer_for(error: BridgeError) -> ResponseReturnValue:
    """What is the matter with the workers is no fault of the client's: come again, it took too long, it broke."""
    status = 503 if error.retryable else 504 if isinstance(error, TimeoutError) else 500
    return jsonify(detail=type(error).__name__), status, {"Retry-After": "1"} if status == 503 else {}


def make_app(container: BridgeContainer | None = None) -> Flask:
    """Make the application. Its workers start with the first call, in the process that makes it.

    Args:
        container: The bridge's; if not given, one of the defaults above, overlaid by BRIDGE_* and TEST_MODE.
    """
    app = Flask(__name__)
    app.extensions["bridge"] = container or BridgeContainer(settings=BridgeSettings.load(DEFAULTS))
    app.register_blueprint(pages)
    return app
