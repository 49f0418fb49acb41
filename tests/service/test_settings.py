from pathlib import Path

import msgspec
import pytest

from service.environ import SettingsError
from service.settings import ZOO, Settings, table, variable_of

FIELDS = Settings.__struct_fields__


def test_without_variables_every_setting_has_its_default():
    settings = Settings.from_env({"PATH": "/bin", "HOME": "/root"})
    assert settings == Settings()
    assert (settings.host, settings.port, settings.models) == ("127.0.0.1", 8000, (ZOO,))
    assert (settings.store, settings.durability) == ("memory", "sync")
    assert (settings.slots, settings.max_batch, settings.max_queue) == (256, 32, 4096)
    assert (settings.request_timeout_s, settings.idle_ttl_s, settings.drain_s) == (30, 86400, 30)
    assert (settings.max_body_bytes, settings.max_rows) == (8388608, 4096)
    assert (settings.max_sessions, settings.fronts, settings.threads) == (100000, 1, 1)
    assert (settings.trust_code, settings.log_level) == (False, "info")


def test_the_default_models_are_the_zoo_of_the_package():
    assert Path(ZOO).parts[-2:] == ("model", "zoo")


def test_a_variable_sets_its_field():
    settings = Settings.from_env(
        {
            "NTM_PORT": " 8123 ",
            "NTM_MODELS": "/a:/b/c",
            "NTM_DEVICE": "cuda",
            "NTM_REQUEST_TIMEOUT_S": "0.25",
            "NTM_TRUST_CODE": "1",
            "NTM_ENGINE_SOCKET": "/run/engine.sock",
        }
    )
    assert (settings.port, settings.models, settings.device) == (8123, ("/a", "/b/c"), "cuda")
    assert (settings.request_timeout_s, settings.trust_code) == (0.25, True)
    assert settings.engine_socket == "/run/engine.sock"


@pytest.mark.parametrize(
    ("variable", "text", "expected"),
    [
        ("NTM_PORT", "65536", "a whole number from 0 to 65535"),
        ("NTM_PORT", "-1", "a whole number from 0 to 65535"),
        ("NTM_PORT", "http", "a whole number from 0 to 65535"),
        ("NTM_PORT", "80.5", "a whole number from 0 to 65535"),
        ("NTM_SLOTS", "", "a whole number from 3 to 1048576"),
        ("NTM_MAX_SESSIONS", "0", "a whole number from 1"),
        ("NTM_REQUEST_TIMEOUT_S", "0", "a number above 0 to 86400"),
        ("NTM_REQUEST_TIMEOUT_S", "nan", "a number above 0 to 86400"),
        ("NTM_DRAIN_S", "inf", "a number from 0 to 3600"),
        ("NTM_DEVICE", "tpu", "one of auto, cpu, cuda"),
        ("NTM_RUNTIME", "ONNX", "one of auto, onnx, torchscript, aot, fused"),
        (
            "NTM_STORE",
            "mysql://host",
            "memory, sqlite:///absolute/path.db or redis://host:port/db",
        ),
        ("NTM_TRUST_CODE", "perhaps", "0 or 1"),
        ("NTM_HOST", " ", "something that is not empty"),
        ("NTM_MODELS", ":", "something that is not empty"),
    ],
)
def test_an_unusable_value_is_refused_naming_variable_expected_and_got(
    variable: str, text: str, expected: str
):
    with pytest.raises(SettingsError) as caught:
        Settings.from_env({variable: text})
    assert str(caught.value) == f"{variable}: expected {expected}, got {text!r}"


def test_an_unknown_variable_is_refused_with_the_nearest_known_one():
    with pytest.raises(SettingsError, match=r"NTM_PROT: .* did you mean NTM_PORT\?"):
        Settings.from_env({"NTM_PROT": "8000"})


def test_an_unknown_variable_near_none_is_refused_with_all_that_there_are():
    with pytest.raises(SettingsError, match="NTM_QQQQQQ: .* known are NTM_HOST, NTM_PORT, "):
        Settings.from_env({"NTM_QQQQQQ": "1"})


def test_a_variable_in_lower_case_is_not_taken_for_the_setting():
    with pytest.raises(SettingsError, match="NTM_port"):
        Settings.from_env({"NTM_port": "8000"})


def test_the_internal_variables_are_no_unknown_settings():
    settings = Settings.from_env({"NTM_LIFELINE_FD": "7", "NTM_ENGINE_SOCKET": "/e"})
    assert settings == Settings(engine_socket="/e")


def test_settings_survive_the_way_through_an_environment():
    settings = Settings(
        host="0.0.0.0", port=1, models=("/a", "/b-1.0"), drain_s=0.125, idle_ttl_s=1e7 / 3,
        trust_code=True, fronts=3, tls_cert="/tls-2.0",
    )  # fmt: skip
    assert Settings.from_env(settings.to_env()) == settings


def test_the_socket_of_the_engine_is_passed_on_only_where_there_is_one():
    assert "NTM_ENGINE_SOCKET" not in Settings().to_env()
    assert Settings(engine_socket="/e").to_env()["NTM_ENGINE_SOCKET"] == "/e"


def test_every_public_setting_has_a_line_of_meaning_and_a_default():
    rows = {variable: (default, meaning) for variable, default, meaning in table()}
    assert set(rows) == {variable_of(name) for name in FIELDS} - {"NTM_ENGINE_SOCKET"}
    for variable, (default, meaning) in rows.items():
        assert default, variable
        assert meaning.endswith(".") and len(meaning) > 15, variable


def test_settings_cannot_be_changed():
    with pytest.raises(AttributeError):
        Settings().port = 1  # pyright: ignore[reportAttributeAccessIssue]
    assert msgspec.structs.replace(Settings(), port=1).port == 1


def test_the_variables_of_the_client_are_no_unknown_settings():
    environ = {"NTM_URL": "http://elsewhere:8000", "NTM_API_KEY": "ntm_a_b"}
    assert Settings.from_env(environ) == Settings()
    assert not environ.keys() & Settings.from_env(environ).to_env().keys()
