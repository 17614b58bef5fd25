"""What keys look like, as data: the fixed characters that give each kind away, and the shape of the whole.

Formats are public facts: issuers give their keys a prefix so that they can be found. Every pattern matches bytes and
starts at one of its literals (or a fixed number of characters before), so that a search for literals finds all that
the patterns could match. The group `value`, where there is one, is what must not be published; else the whole match.
"""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One kind of secret.

    kind       a word for a table
    literals   one of them stands `before` characters after the start of every match
    pattern    the shape of the whole, for bytes
    before     how far before its literal a match may start
    strict     the value must also look random: the shape alone says too little
    tag        what is written instead, in `<…>` within quotes
    """

    kind: str
    literals: tuple[str, ...]
    pattern: str
    before: tuple[int, ...] = (0,)
    strict: bool = False
    tag: str = "KEY"


_HEX: Final = "0123456789abcdef"
_START: Final = r"(?<![A-Za-z0-9_])"
_END: Final = r"(?![A-Za-z0-9_-])"


def _prefixed(kind: str, literals: str, rest: str) -> Rule:
    """Return the rule for keys that start with one of `literals` and go on with `rest`."""
    words = tuple(literals.split())
    starts = "|".join(w.replace(".", r"\.") for w in words)
    return Rule(kind=kind, literals=words, pattern=rf"{_START}(?:{starts}){rest}{_END}")


KEYS: Final = (
    # What opens a private key in PEM or PGP armour; the key itself is what follows.
    Rule(
        kind="private_key",
        literals=("-----BEGIN ",),
        pattern=r"-----BEGIN (?:[A-Z0-9]+ ){0,3}PRIVATE KEY(?: BLOCK)?-----",
    ),
    _prefixed("aws_access_key_id", "AKIA ASIA ABIA ACCA", r"[A-Z0-9]{16}"),
    _prefixed("google_api_key", "AIza", r"[A-Za-z0-9_-]{35}"),
    _prefixed("google_oauth_secret", "GOCSPX-", r"[A-Za-z0-9_-]{28}"),
    _prefixed("google_oauth_token", "ya29.", r"[A-Za-z0-9_-]{30,400}"),
    Rule(
        kind="azure_storage_key",
        literals=("AccountKey=",),
        pattern=r"AccountKey=(?P<value>[A-Za-z0-9+/]{86}==)",
    ),
    Rule(
        kind="azure_client_secret",
        literals=("8Q~", "7Q~"),
        pattern=rf"{_START}[A-Za-z0-9_.~-]{{3}}[78]Q~[A-Za-z0-9_.~-]{{31,34}}{_END}",
        before=(3,),
    ),
    Rule(kind="azure_sas", literals=("sig=",), pattern=r"(?<=[?&;])sig=(?P<value>[A-Za-z0-9%]{43,70}(?:%3[dD]|=))"),
    _prefixed("github_token", "ghp_ gho_ ghu_ ghs_ ghr_", r"[A-Za-z0-9]{36,251}"),
    _prefixed("github_token", "github_pat_", r"[A-Za-z0-9]{22}_[A-Za-z0-9]{59}"),
    _prefixed(
        "gitlab_token", "glpat- gldt- glptt- glft- glsoat- glrt- glcbt- glimt- glagent-", r"[A-Za-z0-9_.-]{20,64}"
    ),
    _prefixed(
        "slack_token",
        "xoxb- xoxp- xoxa- xoxo- xoxr- xoxs- xoxe- xapp-",
        r"(?:[A-Za-z0-9.]{1,80}-){1,5}[a-zA-Z0-9]{10,150}",
    ),
    Rule(
        kind="slack_webhook",
        literals=("hooks.slack.com/",),
        pattern=r"hooks\.slack\.com/(?:services|workflows)/(?P<value>[A-Z][A-Z0-9]{6,12}/[A-Z][A-Z0-9]{6,12}/[A-Za-z0-9/]{20,60})",
    ),
    _prefixed("stripe_key", "sk_live_ rk_live_ sk_test_ rk_test_", r"[A-Za-z0-9]{24,247}"),
    _prefixed("stripe_webhook_secret", "whsec_", r"[A-Za-z0-9+/]{32,64}=?"),
    Rule(
        kind="openai_key",
        literals=("sk-",),
        pattern=rf"{_START}(?<!-)sk-(?:[A-Za-z0-9]+-)?[A-Za-z0-9_-]{{20,100}}T3BlbkFJ[A-Za-z0-9_-]{{20,100}}",
    ),
    Rule(
        kind="anthropic_key",
        literals=("sk-ant-",),
        pattern=rf"{_START}sk-ant-[a-z]{{3,8}}\d\d-[A-Za-z0-9_-]{{80,120}}",
    ),
    _prefixed("hugging_face_token", "hf_", r"[A-Za-z0-9]{34,40}"),
    _prefixed("npm_token", "npm_", r"[A-Za-z0-9]{36}"),
    Rule(
        kind="npm_token",
        literals=("_authToken=", "_auth="),
        pattern=r"_auth(?:Token)?=[\"']?(?P<value>[A-Za-z0-9+/=_.-]{20,400})",
        strict=True,
    ),
    _prefixed("pypi_token", "pypi-AgE", r"[A-Za-z0-9_-]{60,400}"),
    Rule(
        kind="twilio_key",
        literals=tuple(f"{start}{digit}" for start in ("AC", "SK") for digit in _HEX),
        pattern=rf"{_START}(?:AC|SK)[0-9a-f]{{32}}{_END}",
    ),
    _prefixed("sendgrid_key", "SG.", r"[A-Za-z0-9_-]{16,32}\.[A-Za-z0-9_-]{16,64}"),
    Rule(
        kind="mailgun_key",
        literals=tuple(f"key-{digit}" for digit in _HEX),
        pattern=rf"{_START}(?<!-)key-[0-9a-f]{{32}}{_END}",
    ),
    Rule(
        kind="mailchimp_key",
        literals=tuple(f"-us{digit}" for digit in "123456789"),
        pattern=rf"{_START}[0-9a-f]{{32}}-us\d{{1,2}}{_END}",
        before=(32,),
    ),
    Rule(
        kind="jwt",
        literals=("eyJ",),
        pattern=r"(?<![A-Za-z0-9_+/-])eyJ[A-Za-z0-9_-]{10,2000}\.eyJ[A-Za-z0-9_-]{6,8000}\.[A-Za-z0-9_-]{16,2000}",
    ),
    Rule(
        kind="telegram_token",
        literals=(":AA",),
        pattern=rf"{_START}\d{{8,10}}:AA[A-Za-z0-9_-]{{32,33}}{_END}",
        before=(10, 9, 8),
    ),
    Rule(
        kind="discord_token",
        literals=('.run("', ".run('", '.login("', ".login('"),
        pattern=r"\.(?:run|login)\([\"'](?P<value>[MNO][A-Za-z0-9_-]{23,27}\.[A-Za-z0-9_-]{6}\.[A-Za-z0-9_-]{27,40})[\"']",
    ),
    Rule(
        kind="discord_webhook",
        literals=("/api/webhooks/",),
        pattern=r"/api/webhooks/\d{16,20}/(?P<value>[A-Za-z0-9_-]{60,80})",
    ),
    _prefixed("square_token", "sq0csp- sq0atp- sq0idp-", r"[A-Za-z0-9_-]{22,43}"),
    _prefixed("digitalocean_token", "dop_v1_ doo_v1_ dor_v1_", r"[0-9a-f]{64}"),
    _prefixed("shopify_token", "shpat_ shpca_ shppa_ shpss_", r"[0-9a-fA-F]{32}"),
    _prefixed("databricks_token", "dapi", r"[0-9a-f]{32}(?:-\d)?"),
    _prefixed("grafana_token", "glsa_", r"[A-Za-z0-9]{32}_[0-9A-Fa-f]{8}"),
    _prefixed("docker_token", "dckr_pat_", r"[A-Za-z0-9_-]{27}"),
    _prefixed("new_relic_key", "NRAK-", r"[A-Z0-9]{27}"),
    _prefixed("linear_key", "lin_api_", r"[A-Za-z0-9]{40}"),
    _prefixed("postman_key", "PMAK-", r"[0-9a-f]{24}-[0-9a-f]{34}"),
    _prefixed("artifactory_key", "AKCp", r"[A-Za-z0-9]{60,80}"),
    _prefixed("rubygems_key", "rubygems_", r"[0-9a-f]{48}"),
    Rule(
        kind="terraform_token",
        literals=(".atlasv1.",),
        pattern=rf"{_START}[A-Za-z0-9]{{14}}\.atlasv1\.[A-Za-z0-9_-]{{60,70}}",
        before=(14,),
    ),
    _prefixed("vault_token", "hvs. hvb.", r"[A-Za-z0-9_-]{24,200}"),
    _prefixed("atlassian_token", "ATATT3", r"[A-Za-z0-9_=-]{100,250}"),
    _prefixed("groq_key", "gsk_", r"[A-Za-z0-9]{52}"),
    _prefixed("replicate_key", "r8_", r"[A-Za-z0-9]{37,40}"),
    _prefixed("supabase_token", "sbp_", r"[0-9a-f]{40}"),
    _prefixed("sentry_token", "sntrys_", r"[A-Za-z0-9+/=_-]{60,400}"),
    _prefixed("age_key", "AGE-SECRET-KEY-1", r"[A-Z0-9]{58}"),
    Rule(
        kind="url_password",
        literals=("://",),
        pattern=r"://[^\s:@/\"'`<>(){}\[\]]{0,80}:"
        r"(?P<value>[^\s:@/\"'`<>(){}\[\]]{5,200})@"
        r"(?!(?:[\w.-]*\.)?example\.|localhost|host\b|127\.)[A-Za-z0-9\[]",
        tag="PASSWORD",
    ),
)
"""Kinds that fixed characters give away, found where these stand exactly so."""

_NAMES: Final = (
    "password passwd pwd passphrase secret api_key apikey api-key access_key accesskey access-key auth_key authkey"
    " private_key privatekey encryption_key encryptionkey account_key accountkey token credential"
)
_ASSIGNED: Final = (
    r"(?i:(?<!public)(?<!public_)(?<!publickey)(?:NAMES)(?!\w*uuid))"
    r"[\w.-]{0,40}?[\"'`]?\]?(?:\[\w{0,8}\])?"  # the rest of the name, and what closes it
    r"(?:[ \t]{0,4}:[ \t]?&?(?:'static )?[A-Za-z]{1,12}\??|[ \t]{1,2}[A-Za-z]{1,8})?"  # a type
    r"[ \t]{0,20}(?::=|=>|={1,3}|:|,|[ \t])[ \t]{0,8}\(?[A-Za-z@$]{0,2}"  # an assignment, a default, `#define`
)

NAMED: Final = (
    Rule(
        kind="aws_secret_key",
        literals=("aws",),
        pattern=r"(?i:aws)[\w.-]{0,40}?(?i:key|secret|token|pw|pass)[\w.-]{0,20}[^\n\w]{1,12}(?P<value>[A-Za-z0-9/+]{40})(?![A-Za-z0-9/+=])",
        strict=True,
    ),
    Rule(
        kind="password",
        literals=("password", "passwd", "pwd", "passphrase"),
        pattern=_ASSIGNED.replace("NAMES", "password|passwd|pwd|passphrase")
        + r"(?P<quote>[\"'`])(?P<value>[^\"'`\s\\]{8,128})(?P=quote)",
        strict=True,
        tag="PASSWORD",
    ),
    Rule(
        kind="secret",
        literals=tuple(_NAMES.split()),
        pattern=_ASSIGNED.replace("NAMES", "|".join(_NAMES.split()))
        + r"(?P<quote>[\"'`])(?P<value>[^\"'`\s\\]{16,512})(?P=quote)",
        strict=True,
    ),
    Rule(
        kind="secret",
        literals=tuple(_NAMES.split()),
        pattern=rf"(?i:(?<!publickey)(?:{'|'.join(_NAMES.split())})(?!\w*uuid))[\w.-]{{0,30}}(?:=|: ?)"
        r"(?P<value>[A-Za-z0-9+/_.~=-]{16,256})(?=\s|$)",
        strict=True,
    ),
    Rule(
        kind="bearer_token",
        literals=("bearer ",),
        pattern=r"(?i:bearer) (?P<value>[A-Za-z0-9._~+/-]{20,2000}={0,2})",
        strict=True,
    ),
    Rule(
        kind="basic_auth",
        literals=("basic ",),
        pattern=r"(?i:basic) (?P<value>[A-Za-z0-9+/]{16,400}={0,2})(?=[\"'`\s,;)]|$)",
        strict=True,
    ),
)
"""Kinds that only their surroundings give away: a name, in any case of letters, and a value behind it."""

PLACEHOLDERS: Final = (
    "example placeholder changeme change_me change-me dummy fake sample redacted replace insert xxxx yourkey your_"
    " your- foobar test password passwd secret qwerty abcdef 012345 123456 987654 letmein localhost default hello"
    " invalid none deadbeef mtizndu2nzg5m ${ {{ }} %s %( <% ... **** ---- ____ #### < >"
)
"""What occurs in values that stand for a secret and are none, in lower case; the one in base64 is 123456789."""

GENERIC_TLDS: Final = (
    "com org net edu gov mil int info biz name pro aero coop museum jobs mobi travel tel cat asia post app dev xyz"
    " online site tech cloud email company systems solutions digital agency media network software works world space"
    " website store shop blog live studio design engineering group global center zone life today one top club page"
    " technology science academy community foundation institute university school social berlin hamburg wien koeln"
    " london paris amsterdam brussels nyc tokyo swiss bzh eus scot wales ngo ong team tools codes computer build"
)
COUNTRY_TLDS: Final = (
    "ac ad ae af ag ai al am ao aq ar as at au aw ax az ba bb bd be bf bg bh bi bj bm bn bo br bs bt bw by bz ca cc cd"
    " cf cg ch ci ck cl cm cn co cr cu cv cw cx cy cz de dj dk dm do dz ec ee eg er es et eu fi fj fk fm fo fr ga gb gd"
    " ge gf gg gh gi gl gm gn gp gq gr gs gt gu gw gy hk hm hn hr ht hu id ie il im in io iq ir is it je jm jo jp ke kg"
    " kh ki km kn kp kr kw ky kz la lb lc li lk lr ls lt lu lv ly ma mc md me mg mh mk ml mm mn mo mp mq mr ms mt mu mv"
    " mw mx my mz na nc ne nf ng ni nl no np nr nu nz om pa pe pf pg ph pk pl pm pn pr ps pt pw py qa re ro rs ru rw sa"
    " sb sc sd se sg sh si sk sl sm sn so sr ss st su sv sx sy sz tc td tf tg th tj tk tl tm tn to tr tt tv tw tz ua ug"
    " uk us uy uz va vc ve vg vi vn vu wf ws ye yt za zm zw"
)
"""The ends of host names that an e-mail address is believed with."""
