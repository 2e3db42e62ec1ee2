"""Finds credentials and card numbers: in the bytes of a whole request, in attribute keys, and in text.

`may_hold_secrets` is one cheap look that errs on the side of yes; the other functions decide.
"""

from __future__ import annotations

import re
from functools import lru_cache

REDACTED = "REDACTED"  # the word of the semantic conventions for URLs

# Folding turns letters into lower case, and digits and what may stand between the groups of a card number into 0.
# It also reads b, a, t as s, c, r: `secret` and `bearer` then look alike, and one search finds both.
_FOLD = bytes.maketrans(
    b"ABCDEFGHIJKLMNOPQRSTUVWXYZabt123456789 -",
    b"cscdefghijklmnopqrsruvwxyzcsr00000000000",
)
_WORDS = tuple(dict.fromkeys(word.translate(_FOLD) for word in (b"secret", b"bearer", b"authoriz", b"eyJ")))
# The others are found by a rare letter; what stands before it is looked at last.
_K_WORDS = re.compile(
    rb"k(?:en(?<=roken)(?!s)|ie(?<=cookie)|ic(?<=ckic)|_(?:live|resr)|ey(?:"
    + rb"|".join(rb"(?<=%s%skey)" % (word, gap) for word in (b"cpi", b"cess", b"vcre", b"ning") for gap in (b"", b"."))
    + rb"))"  # token, cookie, akia, sk_live, sk_test; api key, access key, private key, signing key: as folded
)
_W_WORDS = re.compile(rb"w(?:d(?<=[ps]wd)|ord(?<=ssword)|r(?<=jwr))")  # pwd, passwd, password, jwt: as folded
_G_WORDS = re.compile(rb"g(?:=(?<=sig=)|ncrure=)")  # sig=, signature=: as folded
_USER_INFO = re.compile(rb"://[^/\s@]{0,300}@")
_DIGITS = b"0" * 13
_CARD_PATTERN = r"(?<![\w.-])(?=[2-6])(?:\d[ -]?){12,18}\d(?![\w-]|\.\d)"
_CARD = re.compile(_CARD_PATTERN, re.ASCII)
_CARD_BYTES = re.compile(_CARD_PATTERN.encode())

_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_SEPARATORS = re.compile(r"[^a-z0-9]+")
_SECRET_KEY = re.compile(
    r"(?:(?:authorization|cookie|cookies|password|passwd|secret|token|api\.?key|access\.?key(?:\.?id)?|private\.?key"
    r"|signing\.?key)|(?:^|\.)(?:pwd|jwt|secrets|passwords))(?:\.(?:\d+|value|hash))?\Z"
)
_NUMERIC_SECRET = re.compile(r"(?:password|passwd|secret|pwd)\Z")

_NAME = (
    r"(?:token|secret|passw(?:or)?d|pwd|jwt|api[-_]?key|access[-_]?key(?:[-_]?id)?|private[-_]?key"
    r"|signature|\bsig|amz-credential)"
)
_PLACEHOLDER = r"(?![$?:%{<*\[(]|REDACTED|true\b|false\b|null\b|none\b|nil\b)"
_RULES = (
    (re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL), REDACTED),
    (re.compile(r"\beyJ[\w-]{5,}\.[\w-]+(?:\.[\w-]*)?"), REDACTED),
    (re.compile(r"(://)(?:[^\s/:@'\"]*:[^\s/'\"]*|[^\s/:@'\"]{20,})@"), rf"\1{REDACTED}:{REDACTED}@"),
    (re.compile(r"(authorization[\"']?\s*[:=]\s*[\"']?)(?:[\w-]+\s+)?[^\s\"',;}]+", re.I), rf"\1{REDACTED}"),
    (re.compile(r"(\bbearer\s+)(?=[^\s]*[\d._~+/=-]|[\w]{20})[\w.~+/=-]{6,}", re.I), rf"\1{REDACTED}"),
    (re.compile(r"(cookie[\"']?\s*[:=]\s*[\"']?)(?=[^\"'\r\n=]{1,100}=)[^\"'\r\n]+", re.I), rf"\1{REDACTED}"),
    (re.compile(rf"({_NAME}[\"']?\s*[:=]\s*)(['\"]){_PLACEHOLDER}(?:(?!\2).)+", re.I), rf"\1\2{REDACTED}"),
    (re.compile(rf"({_NAME}=){_PLACEHOLDER}[^\s&#;,'\")}}\]]+", re.I), rf"\1{REDACTED}"),
    (re.compile(rf"({_NAME}\s*[:=]\s+){_PLACEHOLDER}(?=[^\s]*\d)[^\s&;,'\")}}\]]{{8,}}", re.I), rf"\1{REDACTED}"),
    (re.compile(r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b"), REDACTED),
    (re.compile(r"\b[sr]k_(?:live|test)_\w{10,}"), REDACTED),
)
_IIN = re.compile(r"4|5[1-5]|2[2-7]|3[0-9]|6[0-9]")


def folded_key(key: str) -> bytes:
    """A key in the form that it has in a folded body."""
    return key.encode().translate(_FOLD)


def may_hold_secrets(body: bytes, more_words: tuple[bytes, ...] = ()) -> bool:
    """Whether a serialised message may hold a secret, or one of some more words, which `folded_key` has folded."""
    folded = body.translate(_FOLD)
    for word in _WORDS + more_words:
        if word in folded:
            return True
    return (
        _K_WORDS.search(folded) is not None
        or _W_WORDS.search(folded) is not None
        or _G_WORDS.search(folded) is not None
        or _USER_INFO.search(body) is not None
        or _has_card_number(body, folded)
    )


def _has_card_number(body: bytes, folded: bytes) -> bool:
    """Whether there is a card number; digits of it are only looked at where 13 of them stand together."""
    start = folded.find(_DIGITS)
    while start >= 0:
        match = _CARD_BYTES.search(body, max(0, start - 1), start + 48)
        if match is not None and is_card_number(match[0].decode()):
            return True
        start = folded.find(_DIGITS, start + len(_DIGITS))
    return False


@lru_cache(maxsize=4096)
def is_secret_key(key: str) -> bool:
    """Whether the value of an attribute is secret because of its key."""
    return _SECRET_KEY.search(_plain_key(key)) is not None


@lru_cache(maxsize=4096)
def is_secret_even_as_number(key: str) -> bool:
    """Whether that is so for a number as well; the number of tokens, for one, is no secret."""
    return _NUMERIC_SECRET.search(_plain_key(key)) is not None


def _plain_key(key: str) -> str:
    """The words of a key in lower case with dots between them, also of a camelCase one."""
    return _SEPARATORS.sub(".", _CAMEL.sub(".", key[:200]).lower())


def redact_text(text: str) -> str:
    """The text with REDACTED in place of each secret; the same object when there is none."""
    if not may_hold_secrets(text.encode()):
        return text
    redacted = text
    for pattern, replacement in _RULES:
        redacted = pattern.sub(replacement, redacted)
    redacted = _CARD.sub(lambda match: REDACTED if is_card_number(match[0]) else match[0], redacted)
    return text if redacted == text else redacted


def is_card_number(text: str) -> bool:
    """Whether 13 to 19 digits, perhaps in groups, are the number of a payment card: issuer and check digit fit."""
    digits = [int(char) for char in text if char.isdigit()]
    if not 13 <= len(digits) <= 19 or len(set(digits)) == 1 or not _IIN.match("".join(map(str, digits))):
        return False
    doubled = (sum(divmod(2 * digit, 10)) for digit in digits[-2::-2])
    return (sum(digits[-1::-2]) + sum(doubled)) % 10 == 0


_EMAIL = re.compile(r"\b[\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63}){1,8}\b")
_SQL_LITERAL = re.compile(r"'(?:[^']|'')*'|(?<![\w$:@])\d+(?:\.\d+)?\b")


def redact_emails(text: str) -> str:
    """The text with REDACTED in place of e-mail addresses."""
    return _EMAIL.sub(REDACTED, text) if "@" in text else text


def redact_sql_literals(statement: str) -> str:
    """A SQL statement with `?` in place of its strings and numbers."""
    return _SQL_LITERAL.sub("?", statement)
