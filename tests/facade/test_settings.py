"""Settings: what is legal, where it comes from, and what a mistake is told."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from pydantic import ValidationError

from bridge import BridgeSettings, ConfigurationError
from bridge.schema import LEAVES
from bridge.settings import sort_keywords
from tests.fakes import Haunted


def test_defaults_are_overlaid_by_the_file_and_that_by_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """defaults < env_file < environment."""
    file = tmp_path / "settings.env"
    file.write_text("BRIDGE_POOL__SIZE=3\nBRIDGE_CALL__TIMEOUT=7\n")
    monkeypatch.setenv("BRIDGE_CALL__TIMEOUT", "9")
    defaults = {"pool": {"size": 2, "max_overflow": 5}, "worker": {"handler": "math"}}

    settings = BridgeSettings.load(defaults, env_file=str(file))

    assert (settings.pool.size, settings.pool.max_overflow, settings.call.timeout) == (3, 5, 9.0)
    assert settings.worker.handler == "math"


def test_a_dotenv_file_that_nobody_named_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file called .env in the working directory belongs to somebody else."""
    (tmp_path / ".env").write_text("BRIDGE_POOL__SIZE=3\n")
    monkeypatch.chdir(tmp_path)

    assert BridgeSettings.load().pool.size == 4


def test_building_settings_reads_no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only `load` does."""
    monkeypatch.setenv("BRIDGE_POOL__SIZE", "3")

    assert BridgeSettings().pool.size == 4


def test_a_variable_that_is_unset_meanwhile_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another thread may change the environment while it is read. Fails, with a KeyError, when `_read` doesn't look
    again."""
    monkeypatch.setenv("BRIDGE_POOL__SIZE", "3")
    monkeypatch.setattr("os.environ", unset_while_it_is_read := Haunted(os.environ))

    assert BridgeSettings.load().pool.size == 3
    assert unset_while_it_is_read.seen


def test_a_second_bridge_has_a_prefix_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """OCR_POOL__SIZE is read by `load(prefix="OCR_")`, and by nobody else."""
    monkeypatch.setenv("OCR_POOL__SIZE", "3")

    assert BridgeSettings.load(prefix="OCR_").pool.size == 3
    assert BridgeSettings.load().pool.size == 4


@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [
        ("BRIDGE_POOL__SIZE", "0", r"pool\.size: .*greater than or equal to 1"),
        ("BRIDGE_POOL__SIZ", "3", r"pool\.siz is no setting; did you mean 'size'"),
        ("BRIDGE_ADAPTOR", "x", r"BRIDGE_ADAPTOR is no setting; did you mean BRIDGE_ADAPTER\?"),
        ("BRIDGE_WORKER__OPTIONS", "{", r"written as JSON"),
        ("BRIDGE_WORKER__PYTHON", "", r"worker\.python is empty"),
        ("BRIDGE_WORKER__UMASK", "0x12", r"worker\.umask '0x12' is no octal number, such as 027"),
        ("BRIDGE_WORKER__UMASK", "1000", r"worker\.umask: .*less than or equal to 511"),
        ("BRIDGE_WORKER__ENV_ALLOW", "PATH", r"worker\.env_allow is a list, as in env_allow="),
        ("BRIDGE_WORKER__ENV_ALLOW", '["A=1"]', r"'A=1' can't be the name of a variable"),
        (
            "BRIDGE_WORKER__LIMITS__ADRESS_SPACE",
            "1",
            r"limits\.adress_space is no setting; did you mean 'address_space'\?",
        ),
        ("BRIDGE_WORKER__LIMITS__SIZE", "1", r"limits\.size is no setting$"),
        ("BRIDGE_WORKER__LIMITS", '{"niceness": -1}', r"limits\.niceness: .*greater than or equal to 0"),
        ("BRIDGE_WORKER__ENV__OMP_NUM_THREADS", "1", r"""BRIDGE_WORKER__ENV='{"OMP_NUM_THREADS": \.\.\.}'"""),
        ("BRIDGE_WORKER__OPTIONS__Model", "x", r"""BRIDGE_WORKER__OPTIONS='{"Model": \.\.\.}'"""),
        ("bridge_adapter_options__A", "x", r"""BRIDGE_ADAPTER_OPTIONS='{"A": \.\.\.}'"""),
    ],
)
def test_a_wrong_variable_is_an_error_that_names_the_cure(
    variable: str, value: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Out of range, misspelt, not JSON: a ConfigurationError, and never pydantic's own."""
    monkeypatch.setenv(variable, value)

    with pytest.raises(ConfigurationError, match=message):
        BridgeSettings.load()


def test_limits_come_from_everywhere_and_are_merged(monkeypatch: pytest.MonkeyPatch) -> None:
    """One by one or as JSON, over what the program says. Fails when a variable replaces all of them."""
    monkeypatch.setenv("BRIDGE_WORKER__LIMITS", '{"open_files": 64}')
    monkeypatch.setenv("BRIDGE_WORKER__LIMITS__CPU_SECONDS", "5")

    limits = BridgeSettings.load({"worker": {"limits": {"core": False, "cpu_seconds": 9}}}).worker.limits

    assert limits.model_dump(exclude_unset=True) == {"core": False, "open_files": 64, "cpu_seconds": 5}


@pytest.mark.parametrize("name", sorted(LEAVES))
def test_a_value_of_a_wrong_type_is_one_sentence(name: str) -> None:
    """It names the setting and what was given, and no class of ours or of pydantic's. Fails when a setting that takes
    this or that is told once for each, as a union is."""
    with pytest.raises(ConfigurationError) as caught:
        BridgeSettings().with_changes(sort_keywords({name: 1j})[0])

    told = str(caught.value)
    assert f"{'.'.join(LEAVES[name])}" in told
    assert told.endswith("not 1j")
    assert not re.search(r"; |\n|\[function|instance of|tuple", told)


@pytest.mark.parametrize("launcher", [3, ["ssh", 3], {"ssh": "host"}, b"ssh host"])
def test_a_launcher_is_a_text_or_a_list_of_texts(launcher: object) -> None:
    """Nothing else can be an argv."""
    with pytest.raises(ConfigurationError) as caught:
        BridgeSettings(worker={"launcher": launcher})

    told = "settings: worker.launcher is a text such as 'ssh host', or a list of texts, not "
    assert str(caught.value) == f"{told}{launcher!r}"


@pytest.mark.parametrize(("given", "mask"), [("027", 0o27), ("0o27", 0o27), ("77", 0o77), (0o27, 0o27), (None, None)])
def test_a_umask_as_text_is_octal(given: object, mask: int | None) -> None:
    """As everybody writes it. Fails, with a mask that hides other bits, when pydantic reads it."""
    assert BridgeSettings.model_validate({"worker": {"umask": given}}).worker.umask == mask


def test_an_allow_list_can_be_taken_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """`null` from outside is all of the caller's variables again; a list is a list."""
    program = {"worker": {"env_allow": ["PATH"]}}
    monkeypatch.setenv("BRIDGE_WORKER__ENV_ALLOW", "null")
    assert BridgeSettings.load(program).worker.env_allow is None

    monkeypatch.setenv("BRIDGE_WORKER__ENV_ALLOW", '["PATH", "LC_*"]')
    assert BridgeSettings.load(program).worker.env_allow == ("PATH", "LC_*")


@pytest.mark.parametrize("variable", ["BRIDGE_PORT", "BRIDGE_SERVICE_HOST", "BRIDGE_PORT_80_TCP_ADDR"])
def test_variables_of_somebody_else_are_left_alone(variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Kubernetes injects these for a Service called bridge."""
    before = BridgeSettings.load()
    monkeypatch.setenv(variable, "tcp://10.0.0.1:80")

    assert BridgeSettings.load() == before


def test_settings_are_frozen() -> None:
    """They can't change under the pool."""
    with pytest.raises(ValidationError, match="frozen"):
        setattr(BridgeSettings().pool, "size", 3)  # noqa: B010


@pytest.mark.parametrize(
    ("defaults", "message"),
    [
        ({"_env_file": "x"}, r"_env_file is no setting; a file is named by load\(env_file=\.\.\.\)"),
        ({"_env_prefix": "X_"}, "_env_prefix is no setting"),
        ([1], r"a mapping or a BridgeSettings, not \[1\]"),
    ],
)
def test_defaults_are_settings_and_nothing_else(defaults: object, message: str) -> None:
    """pydantic-settings has options of its own, which aren't ours. Fails when they reach it."""
    with pytest.raises(ConfigurationError, match=message):
        BridgeSettings.load(defaults)  # type: ignore[arg-type]


def test_a_mapping_can_be_validated_as_pydantic_does_it() -> None:
    """With our error, told once. Fails when pydantic's own leaves, or ours is told inside another."""
    assert BridgeSettings.model_validate({"pool": {"size": 3}}).pool.size == 3
    with pytest.raises(ConfigurationError) as caught:
        BridgeSettings.model_validate({"pool": {"size": 0}})
    assert str(caught.value).startswith("settings: pool.size: ")


def test_changes_are_validated_as_a_whole() -> None:
    """with_changes merges a group, keeps the rest, and refuses what is out of range."""
    settings = BridgeSettings(pool={"size": 2, "max_overflow": 1})

    assert settings.with_changes({"pool": {"size": 3}}).pool.max_overflow == 1
    with pytest.raises(ConfigurationError, match=r"pool\.size"):
        settings.with_changes({"pool": {"size": -1}})


def test_flat_keywords_find_their_one_field() -> None:
    """`size` is pool.size; a group takes a mapping; what is no setting is handed back."""
    tree, rest = sort_keywords({"size": 2, "worker": {"python": "x"}, "adapter": "mock", "spam": 1})

    assert tree == {"pool": {"size": 2}, "worker": {"python": "x"}, "adapter": "mock"}
    assert rest == {"spam": 1}


def test_a_field_given_twice_is_an_error() -> None:
    """By its leaf name and in its group: nobody can know which was meant."""
    with pytest.raises(ConfigurationError, match=r"pool\.size is given twice"):
        sort_keywords({"size": 2, "pool": {"size": 3}})
    with pytest.raises(ConfigurationError, match="give it a mapping"):
        sort_keywords({"pool": 3})
