from __future__ import annotations

from pathlib import Path

import pytest

from service.environ import SettingsError
from service.exposure import check, is_loopback
from service.settings import Settings
from tests.service.keyed import new_key


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "::1", "localhost"])
def test_on_loopback_no_keys_are_needed(host: str):
    assert is_loopback(host)
    check(Settings(host=host))


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "no such host"])
def test_elsewhere_keys_are_needed_or_a_setting_that_says_what_it_does(host: str, tmp_path: Path):
    assert not is_loopback(host)
    with pytest.raises(SettingsError, match="NTM_SERVE_WITHOUT_KEYS=1"):
        check(Settings(host=host))
    check(Settings(host=host, serve_without_keys=True))
    new_key(tmp_path / "keys.json", "acme")
    check(Settings(host=host, keys=str(tmp_path / "keys.json")))


def test_keys_that_cannot_be_read_are_refused_also_where_none_are_needed(tmp_path: Path):
    with pytest.raises(SettingsError, match="cannot be read"):
        check(Settings(keys=str(tmp_path / "none.json"), serve_without_keys=True))


def test_a_certificate_and_its_key_come_together_and_fit(tmp_path: Path):
    with pytest.raises(SettingsError, match="both or neither"):
        check(Settings(tls_cert="a.pem"))
    with pytest.raises(SettingsError, match="NTM_TLS_CERT: .* cannot be read"):
        check(Settings(tls_cert=str(tmp_path / "a.pem"), tls_key=str(tmp_path / "b.pem")))
    for name in ("a.pem", "b.pem"):
        (tmp_path / name).write_text("no certificate")
    with pytest.raises(SettingsError, match="in PEM"):
        check(Settings(tls_cert=str(tmp_path / "a.pem"), tls_key=str(tmp_path / "b.pem")))
