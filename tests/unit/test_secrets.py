"""Keys, passwords and personal data: found, told from placeholders, replaced so that code stays code."""

import ast
import random
import time

import pytest

from magicoder.errors import RecipeError
from magicoder.text import secret_patterns
from magicoder.text.secrets import Verdict, apply, check_policies, find
from tests.planted import BARE_FORMS, BY_NAME, FORMS, KEYS, planted

CASES = [(kind, form) for kind in KEYS for form in (FORMS if kind in BY_NAME else (*FORMS, *BARE_FORMS))]


def kinds(text: str) -> list[str]:
    return [f.kind for f in find(text)]


def redacted(*texts: str) -> tuple[str, ...]:
    return apply(texts, secrets="redact", personal_data="redact", titles=("",) * len(texts)).texts


def test_there_are_more_than_thirty_kinds() -> None:
    rules = (*secret_patterns.KEYS, *secret_patterns.NAMED)
    assert len({rule.kind for rule in rules}) > 40
    assert all(rule.literals for rule in rules)


@pytest.mark.parametrize(("kind", "form"), CASES, ids=lambda v: v.strip() if isinstance(v, str) else "")
def test_a_planted_key_is_found_and_gone_after(kind: str, form: str) -> None:
    for number in range(5):
        code, key = planted(kind, random.Random(f"{kind}:{form}:{number}"), form)
        text = f"# start\nx = 1\n{code}y = 2\n"
        assert find(text), code
        (changed,) = redacted(text)
        body = max(key.split("\n"), key=len).removeprefix("AccountKey=")
        assert body not in changed, code
        assert changed.count("\n") == text.count("\n")
        assert find(changed) == []
        assert changed.startswith("# start\nx = 1\n")
        assert changed.endswith("y = 2\n")


def test_a_finding_says_where_and_what_but_not_which() -> None:
    code, key = planted("github_token", random.Random(1), FORMS[0])
    (found,) = find(f"\n\n{code}")
    assert (found.kind, found.line, found.is_personal) == ("github_token", 3, False)
    assert key not in repr(found)


@pytest.mark.parametrize(
    "text",
    [
        "aws_key = 'AKIA" + "IOSFODNN7EXAMPLE'",
        "aws_secret_access_key = 'wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY'",
        'api_key = "<your-key-goes-right-here-1234>"',
        'api_key = "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"',
        'api_key = "YOUR_API_KEY_HERE_0123456789"',
        'password = "${DB_PASSWORD_2}"',
        'password = "{{ vault_password1 }}"',
        'password = "%(password1)s"',
        'password = "correcthorse"',
        'password = "password123"',
        'password = os.environ["PASSWORD_FOR_2"]',
        'password = get_password("user1")',
        'secret_name = "my-secret-name-for-v2-clients"',
        'token = "IDENTIFIER_TOKEN_2"',
        'TOKEN_URL = "https://login.host.io/oauth2/v2.0/token"',
        'access_key_id = "camelCaseNamesAreNoSecrets2"',
        'publicKeyToken="b77a5c561934e089"',
        'SECRET_UUID = "2a0a0d6c-babf-454d-b93e-9ac9957b95e0"',
        'if "-----BEGIN ' + 'PRIVATE KEY-----" in text:\n    load(text)\n',
        "url = 'http://user:password@host.org/'",
        "url = 'http://{user}:{secret1}@host.org/'",
        "url = 'http://me:swordfish1@localhost:80/'",
        "task-abcdefghijklmnopqrst",
        "MASK0123456789abcdef0123456789abcdef01",
        "Authorization: Bearer <token>",
        "Authorization: Bearer eyJ...",
        "digest = '5f4dcc3b5aa765d61d8327deb882cf99'",
        "hf_hub_download(repo_id='org/name')",
    ],
)
def test_placeholders_names_and_code_are_no_secrets(text: str) -> None:
    assert find(text) == []


@pytest.mark.parametrize(
    ("text", "kind", "changed"),
    [
        ("# Jane Roe <jane.roe@uni-bonn.de>", "email", "# Jane Roe <user1@example.com>"),
        ("mailto:r.m+x@mail.foo-bar.co.uk.", "email", "mailto:user1@example.com."),
        ('HOST = "81.169.145.66"', "ipv4", 'HOST = "192.0.2.1"'),
        ("ping 81.169.145.66:80", "ipv4", "ping 192.0.2.1:80"),
        ('A = "2a01:4f8:0:59ed::2"', "ipv6", 'A = "2001:db8::1"'),
        ("[2607:f8b0:4005:805::200e]:443", "ipv6", "[2001:db8::1]:443"),
        ('phone: "+49 228 738 9120"', "phone", 'phone: "555-0100"'),
    ],
)
def test_personal_data_become_what_is_reserved_for_documentation(text: str, kind: str, changed: str) -> None:
    assert kinds(text) == [kind]
    assert redacted(text) == (changed,)
    assert find(changed) == []


@pytest.mark.parametrize(
    "text",
    [
        "user@example.org, a@b.com, me@my-company.com, x@host.local",
        "git clone git@github.com:owner/name.git",
        "ssh://deploy@build.host.net/repo",
        "logo@2x.png lodash@4.17.21 pkg@1.0.0-beta.rc",
        "@property\n@app.route('/x')\n@Test.Case.of(1)",
        "out = a@b.T @ c; y = self.x@self.w.to(device)",
        "127.0.0.1 10.1.200.44 192.168.100.77 172.16.33.44 0.0.0.0 255.255.255.0",
        "192.0.2.55 198.51.100.66 203.0.113.77 2001:db8::77 fe80::1 ::1 8.8.8.8 1.2.3.4",
        "version 81.169.145.66, v81.169.145.66, pkg>=81.169.145.66",
        "section 4.2.1.3; OID 1.3.6.1.4.1.311.60.2; 999.300.1.2",
        "std::vector<a::b>; dead::beef(); 12:34:56; x[2000:3000]; 2024:01:02",
        "phone: 1234567890; phone = 42; tel: 555-0142",
    ],
)
def test_addresses_of_nobody_and_what_only_looks_like_one_stay(text: str) -> None:
    assert find(text) == []


def test_equal_addresses_get_equal_stand_ins_through_all_texts() -> None:
    first, second = redacted("ann@x-y.org bob@x-y.org", "bob@x-y.org, Ann@X-Y.org; 81.169.145.66")
    assert first == "user1@example.com user2@example.com"
    assert second == "user2@example.com, user1@example.com; 192.0.2.1"


def test_quotes_decide_about_the_brackets_of_a_tag() -> None:
    key = KEYS["github_token"](random.Random(3))
    assert redacted(f'push("{key}")\nexport TOKEN={key}\n') == ('push("<KEY>")\nexport TOKEN=KEY\n',)


def test_a_private_key_in_a_string_with_escapes_stays_a_string() -> None:
    lines = KEYS["private_key"](random.Random(5)).split("\n")
    code = "KEY = (\n" + "".join(f'    "{line}\\n"\n' for line in lines) + ")\nJOINED = '" + "\\n".join(lines) + "'\n"
    (changed,) = redacted(code)
    assert ast.unparse(ast.parse(changed)).count("<KEY>") == 26
    assert all(line not in changed for line in lines[1:-1])


def test_a_secret_wins_over_an_address_in_it() -> None:
    assert kinds("postgres://app:h7Gq2pLx@db.bigcorp.net/x") == ["url_password"]


def test_text_that_is_not_ascii_keeps_its_places() -> None:
    code, _ = planted("stripe_key", random.Random(2), FORMS[0])
    text = f"# größe 大小 \udcff\n{code}# jürgen.weiß@web.de\n"
    assert [(f.kind, f.line) for f in find(text)] == [("stripe_key", 2), ("email", 3)]
    assert redacted(text) == ('# größe 大小 \udcff\nvalue = "<KEY>"\n# user1@example.com\n',)


def test_policies_are_asked_separately() -> None:
    code, key = planted("npm_token", random.Random(4), FORMS[0])
    text = f"{code}# ann@x-y.org\n"
    kept = apply((text,), secrets="keep", personal_data="keep")
    assert kept == Verdict(texts=(text,))
    assert apply((text,), secrets="keep", personal_data="redact").texts == (f"{code}# user1@example.com\n",)
    rejected = apply((text,), secrets="reject", personal_data="redact")
    assert (rejected.reason, rejected.detail) == ("secret", "npm_token in line 1")
    assert key not in rejected.detail
    also = apply((text, text), secrets="redact", personal_data="reject", titles=(" of a", " of b"))
    assert (also.reason, also.detail) == ("personal_data", "email in line 2 of a, email in line 2 of b")


def test_a_rejection_names_the_first_three_places() -> None:
    text = "".join(f"# ann{n}@x-y.org\n" for n in range(5))
    assert apply((text,), secrets="keep", personal_data="reject").detail == (
        "email in line 1, email in line 2, email in line 3, and 2 more"
    )


def test_an_unknown_policy_is_an_error_that_lists_the_policies() -> None:
    with pytest.raises(RecipeError, match="secrets is 'drop'; it must be one of: keep, redact, reject"):
        check_policies(secrets="drop", personal_data="keep")


@pytest.mark.parametrize("start", ["ASK", "BAC", "hf_", "sk-"])
def test_a_literal_inside_of_a_key_is_not_hidden_by_another_before_it(start: str) -> None:
    assert kinds(f'x = "{start}8Q~{"aB3dE5fG7hJ9kL2mN4pQ6rS8tU1vW3xY5z"}"') == ["azure_client_secret"]


def test_time_grows_with_the_text_and_not_with_its_square() -> None:
    def seconds(count: int) -> float:
        lines = "".join(f"# ann{n}@x-y.org 81.169.{n % 250}.{n // 250 % 250}\n" for n in range(count))
        text = lines + '-----BEGIN PRIVATE KEY-----"\n' * count + "password=" * count + "eyJ." * count + "@a" * count
        before = time.process_time()
        assert len(find(redacted(text)[0])) == 0
        return time.process_time() - before

    small = min(seconds(500) for _ in range(3))
    assert seconds(8000) < 60 * small
