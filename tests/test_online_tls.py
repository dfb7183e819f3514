"""Redis over TLS, with a private authority's certificate named in the environment."""

from __future__ import annotations

import ipaddress
import shutil
import socket
import subprocess
import time
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from lifecycle.definitions import Definitions
from lifecycle.errors import PlatformError
from lifecycle.online import Reader, open_store
from lifecycle.online.redis_store import CA_VARIABLE, PASSWORD_VARIABLE
from tests.online_cases import PASSWORD, VIEW, hold, rows


def certificate(folder):
    """Write a key and its own certificate for 127.0.0.1."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "a test's own authority")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    (folder / "cert.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    (folder / "key.pem").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    program = shutil.which("redis-server")
    if program is None:
        pytest.skip("redis-server is not installed (Debian: redis-server)")
    folder = tmp_path_factory.mktemp("tls")
    certificate(folder)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = (
        f"--port 0 --tls-port {port} --bind 127.0.0.1 --requirepass {PASSWORD} --appendonly no --tls-auth-clients no"
    )
    options += (
        f" --tls-cert-file {folder}/cert.pem --tls-key-file {folder}/key.pem --tls-ca-cert-file {folder}/cert.pem"
    )
    server = subprocess.Popen([program, *options.split(), "--save", ""], stdout=subprocess.DEVNULL, cwd=folder)
    try:
        for _ in range(100):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.05)
        yield f"rediss://127.0.0.1:{port}/0", folder / "cert.pem"
    finally:
        server.terminate()
        server.wait(timeout=30)


def test_values_are_read_over_tls(address, monkeypatch):
    url, authority = address
    monkeypatch.setenv(PASSWORD_VARIABLE, PASSWORD)
    monkeypatch.setenv(CA_VARIABLE, str(authority))
    store = open_store(url)
    hold(store, at=100)
    store.put(VIEW, rows(("a", 100, 100, False, 5, "x")))
    assert Reader(store, Definitions((VIEW,)), "spend").read([{"consumer_id": "a"}])[0].to_dict()["amount"] == 5
    store.close()


def test_an_authority_that_is_not_known_is_refused(address, monkeypatch):
    monkeypatch.setenv(PASSWORD_VARIABLE, PASSWORD)
    monkeypatch.delenv(CA_VARIABLE, raising=False)
    with pytest.raises(PlatformError, match="does not answer"):
        open_store(address[0])
