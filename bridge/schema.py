"""What can be set, and what is legal.

Rules: building a model never reads the environment, `load` does, once, through settings.py; models are frozen, and
every change is validated again. Leaf names are unique, so that one word means one field. pydantic's own ValidationError
never leaves this module. Apart from settings.py, which says where values come from and imports nothing expensive.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from json import JSONDecodeError
from types import MappingProxyType
from typing import Any, Final

from pydantic import BaseModel, Field, ValidationError, model_validator
from pydantic.fields import FieldInfo
from pydantic_settings import (
    BaseSettings,
    DotEnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
)

from bridge.errors import ConfigurationError
from bridge.groups import (
    CallSettings,
    Frozen,
    HostSettings,
    LimitSettings,
    PoolSettings,
    RecycleSettings,
    SessionSettings,
    SupervisorSettings,
    WorkerSettings,
)
from bridge.settings import TestMode, mode_in_force, refuse_misspelt, variables_with

READINGS: Final = 10
"""Times that the environment is read until no other thread has unset a variable meanwhile."""


class BridgeSettings(Frozen):
    """All settings of one bridge. Building one reads nothing; `load` reads the environment."""

    name: str | None = Field(None, description="labels logs, stats and errors; the handler if not set")
    adapter: str = Field("python_port", description="name of the adapter")
    adapter_options: dict[str, Any] = Field({}, description="keywords for the adapter's constructor")
    worker: WorkerSettings = WorkerSettings()
    pool: PoolSettings = PoolSettings()
    call: CallSettings = CallSettings()
    supervisor: SupervisorSettings = SupervisorSettings()
    recycle: RecycleSettings = RecycleSettings()
    session: SessionSettings = SessionSettings()
    test_mode: TestMode | None = Field(
        None, description="chooses the adapter in tests; also read from TEST_MODE, without a prefix"
    )
    forbid_test_mode: bool = Field(False, description="refuses a test mode, where real work is done")
    status_socket: str | None = Field(
        None,
        min_length=1,
        description="path of a Unix socket, for its owner alone, that serves `scoped-bridge status` and `top`",
    )

    def __init__(self, **values: Any) -> None:
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise _explained(error, "settings") from error

    @classmethod
    def model_validate(cls, obj: Any, **options: Any) -> BridgeSettings:
        """As pydantic's, but for the error. Inside a model of your own it is pydantic's all the same."""
        try:
            return super().model_validate(obj, **options)
        except ValidationError as error:
            raise _explained(error, "settings") from error

    @model_validator(mode="after")
    def _refuse_test_mode(self) -> BridgeSettings:
        if self.forbid_test_mode and self.test_mode is not None:
            raise ValueError(
                f"the test mode {self.test_mode.value} is set, but forbid_test_mode says that work is real here; "
                "unset TEST_MODE"
            )
        return self

    @model_validator(mode="after")
    def _check_launchers(self) -> BridgeSettings:
        if self.worker.launcher and self.pool.hosts:
            raise ValueError(
                "worker.launcher and pool.hosts are two ways to say where workers are: leave worker.launcher out, each "
                "host has its own"
            )
        return self

    @classmethod
    def load(
        cls,
        defaults: Mapping[str, Any] | BridgeSettings | None = None,
        *,
        prefix: str = "BRIDGE_",
        env_file: str | None = None,
    ) -> BridgeSettings:
        """Defaults, overlaid by the file, overlaid by the environment.

        Args:
            defaults: What the program says: a mapping, or settings that are part of its own.
            prefix: Of the variables; nested by two underscores, as in BRIDGE_POOL__SIZE.
            env_file: A dotenv file; none is read unless it is named.

        Raises:
            ConfigurationError: A value is out of its range, or a name is close to one of ours; says which.
        """
        if env_file is not None and not os.path.isfile(env_file):
            raise ConfigurationError(
                f"there is no file {env_file!r}, which was named as env_file; name one that is there, or none"
            )
        refuse_misspelt(prefix, VARIABLES, MAPPINGS)
        if not (defaults is None or isinstance(defaults, (BridgeSettings, Mapping))):
            raise ConfigurationError(f"defaults are a mapping or a BridgeSettings, not {defaults!r:.60}")
        given = (
            defaults.model_dump(exclude_unset=True) if isinstance(defaults, BridgeSettings) else {**(defaults or {})}
        )
        for name in given:
            if str(name).startswith("_"):  # for pydantic-settings it would be an option of its own
                raise ConfigurationError(f"defaults: {name} is no setting; a file is named by load(env_file=...)")
        mode = mode_in_force(prefix)
        try:
            found = _read(_env_prefix=prefix, _env_file=env_file, _env_nested_delimiter="__", **given)
        except ValidationError as error:
            raise _explained(error, f"the environment ({prefix}*)") from error
        except SettingsError as error:
            raise _not_json(error, prefix) from error
        tree = found.model_dump(exclude_unset=True)
        if mode is not None:
            tree["test_mode"] = mode  # TEST_MODE without a prefix, which pydantic-settings doesn't look for
        return cls(**tree)

    def with_changes(self, changes: Mapping[str, Any]) -> BridgeSettings:
        """These settings, with a tree of changes merged in, validated as a whole.

        Raises:
            ConfigurationError: Says which field, and its range.
        """
        tree = self.model_dump(exclude_unset=True)
        for name, value in changes.items():
            if name in GROUPS and isinstance(value, Mapping):
                tree[name] = {**tree.get(name, {}), **value}
            else:
                tree[name] = value
        return type(self)(**tree)


class _EnvSettings(BaseSettings):
    """The reader of the environment. Its fields are BridgeSettings' own."""

    model_config = SettingsConfigDict(frozen=True, extra="forbid", env_nested_delimiter="__", env_parse_none_str="null")

    name: str | None = None
    adapter: str = "python_port"
    adapter_options: dict[str, Any] = {}
    worker: WorkerSettings = WorkerSettings()
    pool: PoolSettings = PoolSettings()
    call: CallSettings = CallSettings()
    supervisor: SupervisorSettings = SupervisorSettings()
    recycle: RecycleSettings = RecycleSettings()
    session: SessionSettings = SessionSettings()
    test_mode: TestMode | None = None
    forbid_test_mode: bool = False
    status_socket: str | None = None

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        assert isinstance(dotenv_settings, DotEnvSettingsSource)
        file = _OursOf(settings_cls, dotenv_settings)
        return env_settings, file, init_settings  # what the program says are defaults: they come last


def _read(**how: Any) -> _EnvSettings:
    for _ in range(READINGS - 1):
        try:
            return _EnvSettings(**how)
        except KeyError:
            pass  # pydantic-settings lists the variables, then looks each up; one was unset between the two
    return _EnvSettings(**how)


class _OursOf(PydanticBaseSettingsSource):
    """What a dotenv file says of our settings; the rest of it is somebody else's, and no mistake."""

    def __init__(self, settings_cls: type[BaseSettings], file: DotEnvSettingsSource) -> None:
        super().__init__(settings_cls)
        self._file = file

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        return self._file.get_field_value(field, field_name)

    def __call__(self) -> dict[str, Any]:
        refuse_misspelt(self._file.env_prefix, VARIABLES, MAPPINGS, self._file.env_vars)
        return {name: value for name, value in self._file().items() if name in self.settings_cls.model_fields}


def _leaves() -> dict[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {}
    for name, field in BridgeSettings.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            found.update({leaf: (name, leaf) for leaf in field.annotation.model_fields})
        else:
            found[name] = (name,)
    return found


LEAVES: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(_leaves())
"""Each leaf name and the path of its one field."""
GROUPS: Final = frozenset(path[0] for path in LEAVES.values() if len(path) == 2)
VARIABLES: Final = frozenset({"__".join(path).upper() for path in LEAVES.values()} | {name.upper() for name in GROUPS})
"""The names of all settings as variables, without a prefix."""
MAPPINGS: Final = frozenset({"ADAPTER_OPTIONS", "WORKER__ENV", "WORKER__OPTIONS"})
"""Those of them whose value is a mapping of the user's own keys."""


def sort_keywords(keywords: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Split flat keywords into a tree of settings and what is no setting.

    A leaf name means its one field (`size` is pool.size); a group name takes a mapping.

    Raises:
        ConfigurationError: A field is given twice.
    """
    tree: dict[str, Any] = {}
    rest: dict[str, Any] = {}
    for name, value in keywords.items():
        if name in GROUPS:
            if not isinstance(value, Mapping):
                raise ConfigurationError(f"{name} is a group of settings: give it a mapping, not {value!r:.60}")
            given = [(name, leaf, item) for leaf, item in value.items()]
        elif name in LEAVES:
            given = [(*LEAVES[name], value)]
        else:
            rest[name] = value
            continue
        for *group, leaf, item in given:
            place = tree.setdefault(group[0], {}) if group else tree
            if leaf in place:
                twice = ".".join([*group, leaf])
                raise ConfigurationError(f"{twice} is given twice, by name and in its group; leave one out")
            place[leaf] = item
    return tree, rest


def closest(name: str, among: Iterable[str] = (*LEAVES, *GROUPS)) -> str:
    """A hint for a name that is no setting, or nothing."""
    if name in LimitSettings.model_fields and name not in among:
        return f"; it belongs into limits={{{name!r}: ...}}"
    match = get_close_matches(name, [*among], 1)
    return f"; did you mean {match[0]!r}?" if match else ""


def _explained(error: ValidationError, where: str) -> ConfigurationError:
    lines = []
    for fault in error.errors(include_url=False):
        place = [str(step) for step in fault["loc"]]
        text = f"{'.'.join(place)}: {fault['msg']}"
        if fault["type"] == "value_error":
            text = f"{'.'.join(place)} {fault['ctx']['error']}".lstrip()
            if isinstance(fault["ctx"]["error"], ConfigurationError):
                return fault["ctx"]["error"]  # pydantic called our own constructor
        elif fault["type"] == "extra_forbidden":
            models: dict[str, type[Frozen]] = {"worker.limits": LimitSettings, "pool.hosts": HostSettings}
            inside = models.get(".".join(place[:2]))
            names = [*LEAVES, *GROUPS] if inside is None else [*inside.model_fields]
            text = f"{'.'.join(place)} is no setting{closest(place[-1], names)}"
        elif fault["type"] == "tuple_type":
            text = f"{'.'.join(place)} is a list, as in {'.'.join(place[-1:])}=[...], not {fault['input']!r:.60}"
        elif fault["type"] in ("dict_type", "model_type"):
            text = f"{'.'.join(place)} is a mapping, not {fault['input']!r:.60}"
        elif "input" in fault:
            text += f", not {fault['input']!r:.60}"
        lines.append(text)
    return ConfigurationError(f"{where}: {'; '.join(lines)}")


def _not_json(error: SettingsError, prefix: str) -> ConfigurationError:
    """A text that isn't JSON where that is read, and whose it is: pydantic-settings only names the group."""
    cause = error.__cause__
    text = cause.doc if isinstance(cause, JSONDecodeError) else None
    variables = [] if text is None else variables_with(prefix, text)
    if not variables:  # it is in a file
        return ConfigurationError(f"{error}: lists and mappings are written as JSON")
    group = ".".join(variables[0][len(prefix) :].lower().split("__"))
    example = '[{"launcher": "ssh host", "size": 4}]' if group == "pool.hosts" else '["..."] or {"...": "..."}'
    return ConfigurationError(
        f"the environment ({' or '.join(variables)}): {group} is written as JSON, such as {example}, not {text!r:.60}"
    )
