"""Personal data never reaches the disk in the clear, and equal persons have equal hashes."""

import hashlib
import re

import pytest

from lifecycle.errors import UsageError
from lifecycle.pipeline.intake import privacy
from lifecycle.pipeline.intake.privacy import Vault, tokeniser
from tests.conftest import TEST_KEY
from tests.intake_feed import charge, take_in, write

KEY = b"a key for tests and nothing else"
SECRETS = ["zaphod.beeblebrox+1", "zaphodbeeblebrox", "5550123987", "Beeblebrox", "203.0.113.77", "fpSECRETfp42"]


def person():
    described = {
        "id": "cus_1", "object": "customer", "email": "Zaphod.Beeblebrox+1@gmail.com", "phone": "+1 555-0123-987",
        "name": "Zaphod Beeblebrox", "address": {"country": "US", "line1": "Beeblebrox Street 1"},
    }  # fmt: skip
    return charge("evt_1", kind="customer.created") | {
        "data": {"object": described, "previous_attributes": {"email": "zaphodbeeblebrox@example.org", "name": None}}
    }


def lines():
    card = {"card": {"fingerprint": "fpSECRETfp42"}}
    good = charge("evt_2", metadata={"ip": "203.0.113.77"}, payment_method_details=card)
    session = {"id": "ls_1", "object": "link.session", "ip": "203.0.113.77"}
    link = charge("evt_3", kind="link.session.created") | {"data": {"object": session}}
    bad = charge("evt_4", amount=-1, metadata={"ip": "203.0.113.77"}, receipt_email="zaphodbeeblebrox@example.org")
    return [person(), good, link, bad, b"Zaphod Beeblebrox, 5550123987, fpSECRETfp42"]


def every_byte(folder):
    return b"".join(path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file())


def test_no_byte_of_personal_data_is_written(settings, lake, tmp_path):
    source = tmp_path / "feed"
    source.mkdir()
    path = write(source / "a.ndjson", lines())
    [batch] = take_in(settings, lake, "stripe", path)
    assert (batch.accepted, batch.rejected) == (3, 2)
    # Parquet compresses, so the lake's values are looked at as well as its bytes.
    connection = lake.connect()
    try:
        stored = str(connection.execute("SELECT payload FROM lake.raw.events").fetchall())
        stored += str(connection.execute("SELECT * FROM lake.raw.quarantine").fetchall())
    finally:
        connection.close()
    written = every_byte(settings.lake.home)
    for secret in [*SECRETS, TEST_KEY]:
        assert secret.lower() not in stored.lower()
        assert secret.encode() not in written
        assert hashlib.sha256(secret.encode()).hexdigest()[:32] not in stored
    assert "gmail.com" in stored


def test_what_stands_for_a_person(settings, lake, tmp_path):
    import json

    take_in(settings, lake, "stripe", write(tmp_path / "a.ndjson", lines()))
    connection = lake.connect()
    try:
        rows = connection.execute("SELECT event_id, payload FROM lake.raw.events").fetchall()
    finally:
        connection.close()
    customer, paid, link = (json.loads(dict(rows)[f"evt_{n}"]) for n in (1, 2, 3))
    assert set(customer["object"]) == {
        "id", "country", "email_hash", "email_normalised_hash", "email_domain", "phone_hash", "name_hash",
    }  # fmt: skip
    assert customer["previous"]["name_hash"] is None
    assert customer["previous"]["email_domain"] == "example.org"
    assert customer["previous"]["email_hash"] != customer["object"]["email_hash"]
    assert paid["object"]["ip_hash"] == link["object"]["ip_hash"]
    assert paid["object"]["ip_prefix_hash"] == link["object"]["ip_prefix_hash"] != link["object"]["ip_hash"]
    assert re.fullmatch("[0-9a-f]{32}", paid["object"]["card"]["fingerprint_hash"])


def test_a_hash_depends_on_key_and_kind():
    one, other = tokeniser(KEY), tokeniser(KEY + b"!")
    assert one("email", "a@example.org") == tokeniser(KEY)("email", "a@example.org")
    assert len({one("email", "x"), one("phone", "x"), other("email", "x"), one("email", "y")}) == 4
    assert re.fullmatch("[0-9a-f]{32}", one("name", "\ud800"))


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (" Some.One+tag@GMail.com ", ("someone@gmail.com", "gmail.com")),
        ("someone@googlemail.com", ("someone@gmail.com", "googlemail.com")),
        ("Some.One+tag@outlook.com", ("some.one@outlook.com", "outlook.com")),
        ("Some.One+tag@example.org", ("some.one+tag@example.org", "example.org")),
        ('"odd@local"@example.org', ('"odd@local"@example.org', "example.org")),
        ("nobody", ("nobody", None)),
        ("@example.org", ("@example.org", None)),
    ],
)
def test_normalised_addresses(given, expected):
    assert privacy.email_normalised(given) == expected


def test_the_plain_address_keeps_what_its_owner_typed_but_for_case():
    assert privacy.email(" Some.One+tag@GMail.com ") == "some.one+tag@gmail.com"


@pytest.mark.parametrize(
    ("given", "expected"),
    [("+44 (20) 7946-0000", "442079460000"), ("0044 20 7946 0000", "442079460000"), (" none ", "none")],
)
def test_telephone_numbers(given, expected):
    assert privacy.phone(given) == expected


def test_names():
    assert privacy.name("  Stra\u00dfe\u00a0 ANNA ") == privacy.name("strasse anna")


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("192.0.2.77", ("192.0.2.77", "192.0.2.0/24")),
        ("::ffff:192.0.2.77", ("192.0.2.77", "192.0.2.0/24")),
        ("2001:DB8:1:2:0:0:0:1", ("2001:db8:1:2::1", "2001:db8:1::/48")),
        ("unknown", ("unknown", None)),
    ],
)
def test_addresses_of_the_internet(given, expected):
    assert privacy.ip(given) == expected


def test_the_vault_opens_with_its_key_alone():
    sealed = Vault(KEY).seal(b"record")
    assert b"record" not in sealed
    assert Vault(KEY).seal(b"record") != sealed
    assert Vault(KEY).open(sealed) == b"record"
    with pytest.raises(UsageError, match="another one"):
        Vault(KEY + b"!").open(sealed)
