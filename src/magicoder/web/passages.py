"""Foreign text on a page: prose and code told apart, everything escaped, nothing invisible left invisible."""

import re
from dataclasses import dataclass
from urllib.parse import quote

from markupsafe import Markup, escape

# Control characters would vanish on a page, and direction overrides would show code in another order than it has.
_VISIBLE = {c: chr(0x2400 + c) for c in range(32) if chr(c) not in "\t\n"} | {
    c: f"⟨U+{c:04X}⟩" for c in (0x7F, *range(0x202A, 0x202F), *range(0x2066, 0x206A))
}
_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})[ \t]*([^\s`{]*)[^`]*")
_INLINE = re.compile(r"(?<!`)`(?P<code>[^`\n]+)`(?!`)|\*\*(?P<bold>[^*\n]+)\*\*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Passage:
    """A stretch of prose or one fenced block; `language` is what the fence says."""

    is_code: bool
    html: Markup
    language: str = ""


def visible(text: str) -> str:
    """Return `text` with control and direction characters replaced by visible signs."""
    return text.replace("\r\n", "\n").translate(_VISIBLE)


def passages(text: str) -> list[Passage]:
    """Split Markdown into prose and fenced code, as HTML; an unclosed fence runs to the end."""
    found: list[Passage] = []
    lines: list[str] = []
    fence, language = "", ""
    for line in visible(text).split("\n"):
        opened = _FENCE.fullmatch(line)
        if not fence and opened:
            _close(found, lines, is_code=False)
            fence, language = opened[1], opened[2]
        elif fence and opened and not opened[2] and opened[1].startswith(fence):
            _close(found, lines, is_code=True, language=language)
            fence = ""
        else:
            lines.append(line)
    _close(found, lines, is_code=bool(fence), language=language if fence else "")
    return found


def _close(found: list[Passage], lines: list[str], *, is_code: bool, language: str = "") -> None:
    text = "\n".join(lines).strip("\n")
    if text.strip():
        found.append(Passage(is_code=is_code, html=escape(text) if is_code else _prose(text), language=language))
    lines.clear()


def _prose(text: str) -> Markup:
    """Escape prose, with code spans and bold text shown as such."""
    out, end = Markup(), 0
    for match in _INLINE.finditer(text):
        out += escape(text[end : match.start()])
        tag = Markup("<code>{}</code>") if match["code"] else Markup("<b>{}</b>")
        out += tag.format(match["code"] or match["bold"])
        end = match.end()
    return out + escape(text[end:])


def source_address(repository: str, commit: str, path: str, lines: tuple[int, int]) -> str:
    """Return where a host shows these lines; "" for an unknown host or without a commit."""
    name = re.sub(r"^(?:https?://|git@)", "", repository).replace(":", "/", 1).removesuffix(".git").strip("/")
    host, _, project = name.partition("/")
    views = {"github.com": "blob", "gitlab.com": "-/blob", "codeberg.org": "src/commit"}
    if host not in views or not commit or "/" not in project:
        return ""
    return f"https://{host}/{quote(project)}/{views[host]}/{quote(commit)}/{quote(path)}#L{lines[0]}-L{lines[1]}"
