"""Keys that never were, made at random in the shapes that issuers publish, and code to hide them in.

Assembled at run time, so that no file of this repository holds anything that a scanner takes for a key.
"""

import base64
import random
import string
from collections.abc import Callable

LETTERS = string.ascii_letters + string.digits
URL_SAFE = LETTERS + "-_"
UPPER = string.ascii_uppercase + "234567"
HEX = "0123456789abcdef"


def _some(rng: random.Random, alphabet: str, count: int) -> str:
    return "".join(rng.choices(alphabet, k=count))


def _jwt(rng: random.Random) -> str:
    parts = ['{"alg":"HS256","typ":"JWT"}', f'{{"sub":"{_some(rng, LETTERS, 12)}","iat":{rng.randrange(10**9)}}}']
    packed = [base64.urlsafe_b64encode(p.encode()).decode().rstrip("=") for p in parts]
    return ".".join([*packed, _some(rng, URL_SAFE, 43)])


def _pem(rng: random.Random) -> str:
    body = "\n".join(_some(rng, LETTERS + "+/", 64) for _ in range(12))
    kind = rng.choice(["", "RSA ", "EC ", "OPENSSH "])
    mark = kind + "PRIVATE KEY"
    return f"-----BEGIN {mark}-----\n{body}\n{_some(rng, LETTERS, 30)}==\n-----END {mark}-----"


def _discord(rng: random.Random) -> str:
    user = base64.b64encode(str(rng.randrange(10**17, 10**18)).encode()).decode().rstrip("=")
    return f"{user}.{_some(rng, LETTERS, 6)}.{_some(rng, URL_SAFE, 27)}"


KEYS: dict[str, Callable[[random.Random], str]] = {
    "aws_access_key_id": lambda r: "AKIA" + _some(r, UPPER, 16),
    "aws_secret_key": lambda r: _some(r, LETTERS + "+/", 40),
    "google_api_key": lambda r: "AIza" + _some(r, URL_SAFE[:-2] + "_", 35),
    "google_oauth_secret": lambda r: "GOCSPX-" + _some(r, LETTERS, 28),
    "azure_storage_key": lambda r: "AccountKey=" + _some(r, LETTERS + "+/", 86) + "==",
    "azure_client_secret": lambda r: _some(r, LETTERS, 3) + "8Q~" + _some(r, LETTERS, 34),
    "github_token": lambda r: r.choice(["ghp_", "gho_", "ghs_"]) + _some(r, LETTERS, 36),
    "github_fine_token": lambda r: "github_pat_" + _some(r, LETTERS, 22) + "_" + _some(r, LETTERS, 59),
    "gitlab_token": lambda r: "glpat-" + _some(r, LETTERS, 20),
    "slack_token": lambda r: "-".join(["xoxb", _some(r, "3457", 12), _some(r, "2468", 12), _some(r, LETTERS, 24)]),
    "slack_webhook": lambda r: (
        "https://hooks.slack.com/services/T" + f"{_some(r, UPPER, 8)}/B{_some(r, UPPER, 8)}/{_some(r, LETTERS, 24)}"
    ),
    "stripe_key": lambda r: "sk_live_" + _some(r, LETTERS, 24),
    "openai_key": lambda r: "sk-" + _some(r, LETTERS, 20) + "T3Blbk" + "FJ" + _some(r, LETTERS, 20),
    "openai_project_key": lambda r: "sk-proj-" + _some(r, URL_SAFE, 73) + "AT3Blbk" + "FJ" + _some(r, LETTERS, 74),
    "anthropic_key": lambda r: "sk-ant-" + "api03-" + _some(r, LETTERS, 93) + "AA",
    "hugging_face_token": lambda r: "hf_" + _some(r, string.ascii_letters, 34),
    "npm_token": lambda r: "npm_" + _some(r, LETTERS, 36),
    "npm_auth": lambda r: "//registry.example.com/:_authToken=" + _some(r, HEX, 8) + "-" + _some(r, LETTERS, 28),
    "pypi_token": lambda r: "pypi-" + "AgEIcHlwaS5vcmc" + _some(r, LETTERS, 80),
    "twilio_key": lambda r: "SK" + _some(r, HEX, 32),
    "sendgrid_key": lambda r: "SG." + _some(r, LETTERS, 22) + "." + _some(r, LETTERS, 43),
    "mailgun_key": lambda r: "key-" + _some(r, HEX, 32),
    "mailchimp_key": lambda r: _some(r, HEX, 32) + "-us" + str(r.randrange(1, 20)),
    "jwt": _jwt,
    "private_key": _pem,
    "url_password": lambda r: f"postgres://app:{_some(r, LETTERS, 14)}@db.internal.net:5432/main",
    "telegram_token": lambda r: _some(r, "3456789", 10) + ":AA" + _some(r, LETTERS, 33),
    "discord_token": _discord,
    "square_token": lambda r: "sq0csp-" + _some(r, LETTERS, 43),
    "digitalocean_token": lambda r: "dop_v1_" + _some(r, HEX, 64),
    "shopify_token": lambda r: "shpat_" + _some(r, HEX, 32),
    "databricks_token": lambda r: "dapi" + _some(r, HEX, 32),
    "artifactory_key": lambda r: "AKCp" + _some(r, LETTERS, 69),
    "api_key": lambda r: _some(r, LETTERS, 32),
    "client_secret": lambda r: _some(r, HEX, 40),
    "password": lambda r: _some(r, string.ascii_letters, 6) + _some(r, string.digits, 3) + r.choice("!#%&*") + "Zq",
}
"""What is planted, under the name of its kind; the last three are known by the name beside them alone."""

BY_NAME = {"aws_secret_key": "aws_secret_access_key", "api_key": "api_key", "client_secret": "client_secret"} | {
    "password": "db_password",
    "discord_token": "bot_token",
}
"""What those are called in code that nothing but their name gives away."""

FORMS = (
    '{name} = "{key}"\n',
    "    {name}='{key}',\n",
    'const {name} = "{key}";\n',
    '{{"{name}": "{key}"}}\n',
    'private static final String {name} = "{key}";\n',
    "{name}: '{key}'\n",
)
"""Ways to write a key down, each in a line of its own."""

BARE_FORMS = ("export {name}={key}\n", "curl -sS -H 'X-Auth: {key}' host\n", "// {key} was here\n")
"""Ways to write down what no name needs to give away."""


def planted(kind: str, rng: random.Random, form: str) -> tuple[str, str]:
    """Return a piece of code that holds a key of `kind`, and the key."""
    key = KEYS[kind](rng)
    if "\n" in key:
        return f'{BY_NAME.get(kind, "value")} = """{key}"""\n', key
    return form.format(name=BY_NAME.get(kind, "value"), key=key), key
