"""Finds credentials and card numbers: in the bytes of a whole request, in attribute keys, and in text.

`may_hold_secrets` is one cheap look that errs on the side of yes; the other functions decide.
"""

from __future__ import annotations

import re
from functools import lru_cache

REDACTED = "REDACTED"  # the word of the semantic conventions for URLs

# Folding turns letters into lower case, and digits and what may stand between the groups of a card number into 0.
# It also reads b, a, t as s, c, r: `secret` and `bearer` then begin alike, and one search finds both. And it reads the
# rare y, z, = as k, so that one search for k finds all words with one of them; what stands before it is looked at last.
_FOLD = bytes.maketrans(
    b"ABCDEFGHIJKLMNOPQRSTUVWXYZabtyz=123456789 -",
    b"cscdefghijklmnopqrsruvwxkkcsrkkk00000000000",
)
_SECRET_OR_BEARER = b"secre"
_KEYS = b"|".join(rb"(?<=%s%skek)" % (word, gap) for word in (b"cpi", b"cess", b"vcre", b"ning") for gap in (b"", b"."))
_K_WORDS = re.compile(
    rb"k(?:en(?<=roken)(?!s)|ie(?<=cookie)|ic(?<=ckic)|_(?:live|resr)|ek(?:" + _KEYS + rb")"
    rb"|j(?<=ekj)|(?<=sigk)|(?<=gncrurek)|(?<=curhorik))"
)  # token, cookie, akia, sk_live, sk_test; api, access, private, signing key; eyJ, sig=, signature=, authoriz
_W_WORDS = re.compile(rb"w(?:d(?<=[ps]wd)|ord(?<=ssword)|r(?<=jwr))")  # pwd, passwd, password, jwt
_USER_INFO = re.compile(rb"://[^/\s@]{0,300}@")
_USER_INFO_BYTES = 304  # the most that _USER_INFO matches
_LEAST_DIGITS = 13
_DIGITS = b"0" * _LEAST_DIGITS
_RUN = re.compile(b"0+")
_LONGEST_RUN = 64  # a longer one is left to the look at the text
_FIRST_DIGITS = frozenset("23456")
_TEXT_TAG = rb"[\n\x12\x1a\"*b\x80-\xff]"  # of the text fields of OTLP, or the first byte of a long length
_TEXT_BEFORE = re.compile(_TEXT_TAG + rb"\Z")
_WORD_BEFORE = re.compile(rb"(?<!" + _TEXT_TAG + rb")[\w.]\Z")
_WORD_BEHIND = re.compile(rb"[cdfgklnostvwCDFGKLNOSTVW_]")  # the letters that are no tag, having no wire type
_DIGIT_TAGS = frozenset("012589")
_CARD_PATTERN = r"(?<![\w.-])(?=[2-6])(?:\d[ -]?){12,18}\d(?![\w-]|\.\d)"
_CARD = re.compile(_CARD_PATTERN, re.ASCII)

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
_DOUBLED = str.maketrans("0123456789", "0246813579")  # the sum of the digits of twice a digit
_IIN = re.compile(r"4|5[1-5]|2[2-7]|3[0-9]|6[0-9]")


def folded_key(key: str) -> bytes:
    """A key in the form that it has in a folded body."""
    return key.encode().translate(_FOLD)


def may_hold_secrets(body: bytes, more_words: tuple[bytes, ...] = ()) -> bool:
    """Whether a serialised message may hold a secret, or one of some more words, which `folded_key` has folded."""
    folded = body.translate(_FOLD)
    return (
        _SECRET_OR_BEARER in folded
        or _K_WORDS.search(folded) is not None
        or _W_WORDS.search(folded) is not None
        or _has_user_info(body)
        or _has_card_number(body, folded)
        or any(word in folded for word in more_words)
    )


def _has_user_info(body: bytes) -> bool:
    """Whether a URL names a user: what stands before each @ tells, as long as those are fewer than URLs may be."""
    at = -1
    for _ in range(len(body) // _USER_INFO_BYTES + 1):
        at = body.find(b"@", at + 1)
        if at < 0:
            return False
        scheme_end = body.rfind(b"://", max(0, at + 1 - _USER_INFO_BYTES), at)
        if scheme_end >= 0 and _USER_INFO.match(body, scheme_end, at + 1) is not None:
            return True
    return _USER_INFO.search(body, at) is not None


def _has_card_number(body: bytes, folded: bytes) -> bool:
    """Whether there is a card number; digits are only looked at where 13 of them stand together."""
    start = folded.find(_DIGITS)
    while start >= 0:
        end = _RUN.match(folded, start).end()  # type: ignore[union-attr]  # it begins there
        run = body[start:end]
        if len(run.translate(None, b" -")) >= _LEAST_DIGITS:
            before, behind = body[max(0, start - 2) : start], body[end : end + 1]
            if len(run) > _LONGEST_RUN or _may_be_card_number(run.decode(), before, behind):
                return True
        start = folded.find(_DIGITS, end)
    return False


def _may_be_card_number(run: str, before: bytes, behind: bytes) -> bool:
    """Whether there is a card number in digits, blanks and dashes of a serialised message.

    A number begins and ends where they do or at a blank. But a text's length stands before it, and a tag behind it:
    they may look like a digit of it, or like a letter before or behind it.
    """
    blanks = [position for position, character in enumerate(run) if character == " "]
    starts = [blank + 1 for blank in blanks]
    if not _WORD_BEFORE.search(before):
        starts.append(0)
    if _TEXT_BEFORE.search(before):
        starts.append(1)
    ends = [position for position in range(max(0, len(run) - 4), len(run)) if run[position] in _DIGIT_TAGS]
    if not _WORD_BEHIND.match(behind):
        ends.append(len(run))
    return any(
        is_card_number(run[start:end])
        for start in starts
        if run[start : start + 1] in _FIRST_DIGITS
        for end in (*ends, *blanks)
        if end - start >= _LEAST_DIGITS
    )


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
    digits = text.replace(" ", "").replace("-", "")
    if not 13 <= len(digits) <= 19 or len(set(digits)) == 1 or not _IIN.match(digits):
        return False
    return sum(map(int, digits[-1::-2] + digits[-2::-2].translate(_DOUBLED))) % 10 == 0


_EMAIL = re.compile(r"\b[\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63}){1,8}\b")
_SQL_LITERAL = re.compile(r"'(?:[^']|'')*'|(?<![\w$:@])\d+(?:\.\d+)?\b")


def redact_emails(text: str) -> str:
    """The text with REDACTED in place of e-mail addresses."""
    return _EMAIL.sub(REDACTED, text) if "@" in text else text


def redact_sql_literals(statement: str) -> str:
    """A SQL statement with `?` in place of its strings and numbers."""
    return _SQL_LITERAL.sub("?", statement)
