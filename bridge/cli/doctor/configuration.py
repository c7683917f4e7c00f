"""What the settings say, and who says it.

Rules: as `BridgeSettings.load` reads them; nothing is started. Apart from machine.py, whose findings are the same
whatever is configured.
"""

from __future__ import annotations

from bridge import registry
from bridge.assembly import MOCKS, Choice, of_mode
from bridge.cli.doctor.findings import Finding, fail, ok, warn
from bridge.errors import ConfigurationError
from bridge.schema import VARIABLES, BridgeSettings
from bridge.settings import TestMode, forbidding, mode_in_force, mode_variable, variables_of


def load() -> tuple[BridgeSettings | None, Finding]:
    """The settings of the environment, if there are any that can be used."""
    try:
        values = BridgeSettings.load()
    except ConfigurationError as error:
        return None, fail("settings", str(error), "until then no bridge can be made, and no worker is tried here")
    names = sorted(own())
    text = f"{', '.join(names)} of the environment" if names else "the defaults: no variable of ours is set"
    return values, ok("settings", text)


def own() -> list[str]:
    """The variables that are settings."""
    return [variable.name for name, variable in variables_of().items() if name.partition("__")[0] in VARIABLES]


def strangers() -> Finding:
    """The variables that begin like ours and aren't."""
    names = sorted({variable.name for variable in variables_of().values()} - set(own()))
    if not names:
        return ok("variables", "no other variable begins with BRIDGE_")
    remedy = "nothing, if they are somebody else's; a setting is spelt as `python -m bridge config` lists it"
    return ok("variables", f"left alone, since they are no settings: {', '.join(names)}", remedy=remedy)


def mode() -> Finding:
    """What asks for a test mode, and what refuses one."""
    variable, refuses = mode_variable(), forbidding()
    if variable is None:
        return ok("test mode", "none" if refuses is None else f"none; BRIDGE_FORBID_TEST_MODE={refuses}")
    try:
        asked = mode_in_force()
        BridgeSettings(test_mode=asked, forbid_test_mode=False if refuses is None else refuses)
    except ConfigurationError as error:
        why = "" if refuses is None else f" (BRIDGE_FORBID_TEST_MODE={refuses})"
        return fail("test mode", f"{variable} is set, and no bridge can be made{why}: {error}", f"unset {variable}")
    if asked is TestMode.FULL_INTEGRATION:
        return ok(
            "test mode", f"{variable}={asked.value}: calls go to the adapter that the settings name, or python_port"
        )
    return warn(
        "test mode",
        f"{variable}={asked and asked.value}: calls go to a mock, and no real work is done",
        f"unset {variable} where work is real, and set BRIDGE_FORBID_TEST_MODE=1 there",
    )


def adapter(values: BridgeSettings) -> tuple[Choice, Finding]:
    """The adapter that does real work under these settings, and whether it can be had."""
    choice = of_mode(TestMode.FULL_INTEGRATION, values)
    try:
        registry.find(str(choice.source))
    except ConfigurationError as error:
        return choice, fail("adapter", str(error), "name one that there is: BRIDGE_ADAPTER, or unset it")
    if values.adapter in MOCKS:
        text = f"BRIDGE_ADAPTER={values.adapter}: no real work is done; what follows is tried on {choice.label}"
        return choice, warn("adapter", text, "unset BRIDGE_ADAPTER where work is real")
    return choice, ok("adapter", str(choice.source))
