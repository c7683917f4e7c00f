"""The program: `python -m shop.main`."""

from __future__ import annotations

from shop.container import App


def main() -> None:
    """Label some texts in worker processes."""
    app = App()
    app.init_resources()  # starts the workers, and waits until they are ready
    try:
        print(app.inbox().count_complaints(["works well", "arrived broken", "late again"]), "complaints")
    finally:
        app.shutdown_resources()


if __name__ == "__main__":
    main()
