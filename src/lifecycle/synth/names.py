"""
Names, places and codes. Personal data uses only what is set aside for documentation.

Mail domains: RFC 2606. Phones: the North American numbers 555-0100 to 555-0199. Addresses: 192.0.2.0/24,
198.51.100.0/24, 203.0.113.0/24 (RFC 5737) and 2001:db8::/32 (RFC 3849).
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Country:
    """A country of consumers: its share, currency, price level in minor units, and hours ahead of UTC."""

    code: str
    weight: float
    currency: str
    level: float
    offset: int


COUNTRIES = (
    Country("US", 0.46, "usd", 1.0, -6),
    Country("GB", 0.16, "gbp", 0.8, 0),
    Country("DE", 0.12, "eur", 0.9, 1),
    Country("FR", 0.08, "eur", 0.9, 1),
    Country("NL", 0.05, "eur", 0.9, 1),
    Country("CA", 0.05, "cad", 1.35, -5),
    Country("AU", 0.04, "aud", 1.5, 10),
    Country("JP", 0.04, "jpy", 1.5, 9),  # no minor unit: yen
)
ATTACKER_COUNTRIES = ("RO", "NG", "VN", "ID", "BR", "UA", "PH")

FIRST = (
    "Ada", "Alan", "Amara", "Anna", "Ben", "Carla", "Chen", "Clara", "Daniel", "Diego", "Elena", "Emil",
    "Fatima", "Felix", "Grace", "Hana", "Hugo", "Ines", "Ivan", "Jana", "Jonas", "Kaito", "Karim", "Lara",
    "Leila", "Leo", "Lina", "Luca", "Maria", "Mateo", "Mei", "Mila", "Nadia", "Nils", "Noah", "Nora",
    "Olga", "Omar", "Paula", "Priya", "Rafael", "Rosa", "Sami", "Sara", "Sofia", "Tariq", "Theo", "Tom",
    "Uma", "Vera", "Victor", "Wei", "Yara", "Yuki", "Zoe",
)  # fmt: skip
LAST = (
    "Adler", "Almeida", "Andersen", "Baker", "Bauer", "Becker", "Blake", "Brandt", "Castro", "Chavez",
    "Cohen", "Costa", "Dubois", "Evans", "Ferrari", "Fischer", "Garcia", "Haddad", "Hansen", "Hughes",
    "Ivanova", "Jansen", "Kato", "Keller", "Khan", "Kim", "Klein", "Kumar", "Lang", "Lee", "Lopez",
    "Martin", "Meyer", "Moreau", "Mori", "Murphy", "Nguyen", "Novak", "Okafor", "Olsen", "Park", "Patel",
    "Perez", "Popov", "Quinn", "Rossi", "Roy", "Sato", "Schmidt", "Silva", "Smith", "Suzuki", "Taylor",
    "Tanaka", "Vogel", "Walker", "Weber", "Wong", "Young", "Zhang",
)  # fmt: skip
MAIL_DOMAINS = {
    "example.com": 0.55,
    "example.org": 0.25,
    "example.net": 0.12,
    "mail.example": 0.05,
    "post.example": 0.03,
}
TEST_NETS = ("192.0.2.", "198.51.100.", "203.0.113.")

# Category: its share of merchants and its price level.
CATEGORIES = {
    "groceries": (0.18, 1.1),
    "restaurants": (0.18, 0.9),
    "fashion": (0.14, 1.6),
    "electronics": (0.10, 3.5),
    "digital_goods": (0.12, 0.5),
    "home": (0.10, 1.8),
    "health": (0.07, 1.0),
    "travel": (0.06, 6.0),
    "gift_cards": (0.05, 1.5),
}
BRANDS = {"visa": 0.52, "mastercard": 0.33, "amex": 0.09, "discover": 0.04, "jcb": 0.02}
FUNDING = {"debit": 0.50, "credit": 0.43, "prepaid": 0.06, "unknown": 0.01}
DEVICE_TYPES = ("mobile", "desktop", "tablet")
DEVICE_SYSTEMS = (("ios", "android"), ("windows", "macos", "linux"), ("ipados", "android"))

# A declined charge: its failure code with the decline code behind it, and its share.
DECLINES = (
    ("card_declined", "insufficient_funds", 0.42),
    ("card_declined", "generic_decline", 0.22),
    ("card_declined", "do_not_honor", 0.14),
    ("expired_card", "expired_card", 0.08),
    ("incorrect_cvc", "incorrect_cvc", 0.08),
    ("processing_error", "processing_error", 0.03),
    ("card_declined", "lost_card", 0.015),
    ("card_declined", "stolen_card", 0.015),
)
DISPUTE_REASONS = {
    "fraudulent": 0.38,
    "product_not_received": 0.20,
    "product_unacceptable": 0.10,
    "subscription_canceled": 0.10,
    "unrecognized": 0.08,
    "credit_not_processed": 0.06,
    "duplicate": 0.05,
    "general": 0.03,
}
FRAUD_DISPUTE_REASONS = {"fraudulent": 0.92, "unrecognized": 0.08}
FRAUD_TYPES = {
    "unauthorized_use_of_card": 0.62,
    "made_with_stolen_card": 0.16,
    "made_with_lost_card": 0.07,
    "card_never_received": 0.04,
    "fraudulent_card_application": 0.04,
    "made_with_counterfeit_card": 0.03,
    "misc": 0.04,
}
REFUND_REASONS = {"requested_by_customer": 0.86, "duplicate": 0.08, "fraudulent": 0.06}
CHECK_ERRORS = {
    "document_unverified_other": 0.30,
    "selfie_face_mismatch": 0.14,
    "document_expired": 0.12,
    "abandoned": 0.11,
    "document_type_not_supported": 0.07,
    "selfie_document_missing_photo": 0.06,
    "selfie_unverified_other": 0.06,
    "id_number_mismatch": 0.05,
    "consent_declined": 0.04,
    "device_not_supported": 0.03,
    "under_supported_age": 0.02,
}
FAKE_CHECK_ERRORS = {
    "selfie_manipulated": 0.35,
    "selfie_face_mismatch": 0.35,
    "document_unverified_other": 0.30,
}
DOCUMENTS = {"driving_license": 0.48, "passport": 0.28, "id_card": 0.24}
AUTH_METHODS = {"sms_otp": 0.66, "passkey": 0.22, "email": 0.12}
CREDIT_DECLINES = {
    "insufficient_history": 0.34,
    "high_utilization": 0.24,
    "insufficient_income": 0.22,
    "recent_delinquency": 0.12,
    "unverified_identity": 0.08,
}
PAYMENT_FAILURES = {"insufficient_funds": 0.72, "account_closed": 0.10, "debit_not_authorized": 0.18}
