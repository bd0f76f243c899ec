"""The YAML file as such: syntax, YAML's traps, variables."""

from collections.abc import Callable
from pathlib import Path

import pytest

from stepwell.errors import SettingsError
from stepwell.settings import Settings
from stepwell.settings.file import MAX_BYTES

Load = Callable[..., Settings]

REST = """\
providers: {a: {base_url: "http://a/v1"}}
chains: {default: [a/m]}
"""

# What the file holds, and the one line that it is answered with.
UNREADABLE = {
    "tab": (
        "queue:\n\tmax_wait: 5s\n",
        "stepwell.yaml:2: a tab is used for indentation; use spaces",
    ),
    "empty": ("", "stepwell.yaml: the file is empty; it needs providers and chains"),
    "only comments": (
        "# later\n",
        "stepwell.yaml: the file is empty; it needs providers and chains",
    ),
    "only a dash line": (
        "---\n",
        "stepwell.yaml: the file is empty; it needs providers and chains",
    ),
    "a list": ("- a\n", "stepwell.yaml:1: the file must be a mapping: names, ':' and values"),
    "a text": ("hello\n", "stepwell.yaml:1: the file must be a mapping: names, ':' and values"),
    "two documents": (
        "pins: any\n---\npins: chain\n",
        "stepwell.yaml:2: there is more than one document; remove the '---' line",
    ),
    "missing colon": (
        "pins: any\nqueue\nstate: {}\n",
        "stepwell.yaml:3: a ':' is missing after a key, or the indentation is wrong",
    ),
    "two colons": (
        "pins: any: chain\n",
        "stepwell.yaml:1: a ':' is not allowed here; quote a value that contains ': '",
    ),
    "open bracket": ("api_keys: [a, b\npins: any\n", "stepwell.yaml:2: a ',' or ']' is missing"),
    "open quote": ('pins: "any\n', "stepwell.yaml:2: a quote is not closed"),
    "indentation": (
        "chains:\n  a: [x/y]\n b: [x/y]\n",
        "stepwell.yaml:3: the indentation does not fit the lines above",
    ),
    "reserved sign": (
        "pins: @any\n",
        "stepwell.yaml:1: a value begins with a reserved character; quote it",
    ),
    "unknown alias": (
        "api_keys: [*mine]\n",
        "stepwell.yaml:1: unknown alias; quote a value that begins with '*'",
    ),
    "bare reference in a list": (
        "api_keys: [${KEY}]\n",
        'stepwell.yaml:1: quote a reference inside [ ] or { }: ["${NAME}"]',
    ),
    "escape": (
        'pins: "\\q"\n',
        "stepwell.yaml:1: unknown escape after '\\'; use single quotes to keep backslashes",
    ),
    "another YAML": ("%YAML 9.9\n---\npins: any\n", "stepwell.yaml:1: this is not valid YAML"),
    "control characters": ("pins: \x07\n", "stepwell.yaml: the file contains control characters"),
    "not UTF-8": (
        b"pins: any\napi_keys: [\xff]\n",
        "stepwell.yaml:2: the file is not UTF-8; save it as UTF-8",
    ),
    "too large": ("#" * (MAX_BYTES + 1), "stepwell.yaml: the file is larger than 1 MiB"),
    "deep": ("a: " + "[" * 3000 + "]" * 3000, "stepwell.yaml: values are nested too deeply"),
}


@pytest.mark.parametrize(("text", "problem"), UNREADABLE.values(), ids=UNREADABLE)
def test_a_file_that_cannot_be_read_is_answered_with_one_line(
    load: Load, text: str | bytes, problem: str
) -> None:
    """Where YAML itself is broken nothing else can be said, so there is exactly one problem."""
    with pytest.raises(SettingsError) as caught:
        load(text)
    assert caught.value.problems == [problem]


def test_a_path_that_cannot_be_a_file_is_answered_alike() -> None:
    """Whatever the system says of a path is told without a traceback."""
    with pytest.raises(SettingsError) as caught:
        Settings.load("a\0b")
    assert caught.value.problems == ["a\0b: cannot be read: embedded null byte"]


def test_a_missing_file_is_named() -> None:
    """The path is told as it was given."""
    with pytest.raises(SettingsError) as caught:
        Settings.load("nowhere.yaml")
    assert caught.value.problems == ["nowhere.yaml: there is no such file"]


def test_a_directory_is_no_file(tmp_path: Path) -> None:
    """A directory is told apart from a file that cannot be read."""
    (tmp_path / "conf").mkdir()
    with pytest.raises(SettingsError) as caught:
        Settings.load("conf")
    assert caught.value.problems == ["conf: this is a directory, not a file"]


# What is wrong with single keys and values; nothing else in the file is.
WRONG = {
    "doubled key": (
        "pins: any\npins: chain\n",
        "stepwell.yaml:2: the key 'pins' is given twice (first in line 1)",
    ),
    "number as key": (
        "queue:\n  5: 1\n",
        "stepwell.yaml:2: queue: the key '5' is not text; put it in quotes",
    ),
    "list as key": (
        "? [a]\n: b\n",
        "stepwell.yaml:1: a key is a list or a mapping; it must be text",
    ),
    "tag": (
        "default_chain: !!python/name:os.system x\n",
        "stepwell.yaml:1: default_chain: tags ('!') are not supported; quote the value",
    ),
    "own tag": (
        "default_chain: !env X\n",
        "stepwell.yaml:1: default_chain: tags ('!') are not supported; quote the value",
    ),
    "merge of a text": (
        "queue:\n  <<: text\n",
        "stepwell.yaml:2: queue: '<<' merges mappings only",
    ),
    "alias of itself": (
        "queue: &q\n  max_wait: *q\n",
        "stepwell.yaml:2: queue.max_wait: an alias contains itself",
    ),
    "missing variable": (
        "default_chain: ${WHICH}\n",
        (
            "stepwell.yaml:1: default_chain: the variable WHICH is not set; "
            "set it, or write ${WHICH:-default}"
        ),
    ),
    "broken reference": (
        "default_chain: ${a-b}\n",
        (
            "stepwell.yaml:1: default_chain: '${' begins no reference; "
            "write ${NAME}, ${NAME:-default}, or $$ for a dollar sign"
        ),
    ),
}


@pytest.mark.parametrize(("text", "problem"), WRONG.values(), ids=WRONG)
def test_a_wrong_key_or_value_is_named_with_its_line(load: Load, text: str, problem: str) -> None:
    """YAML that can be read but means nothing good is a problem like any other."""
    with pytest.raises(SettingsError) as caught:
        load(text + REST)
    assert problem in caught.value.problems


def test_aliases_that_expand_without_end_are_refused(load: Load) -> None:
    """A billion laughs cost no more than the count of values allows."""
    lines = ["l0: &l0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 10)}]" for n in range(1, 9)]
    with pytest.raises(SettingsError, match="aliases expand to more than 100000 values"):
        load("\n".join(lines))


def test_aliases_and_merge_keys_work(load: Load) -> None:
    """What is written once may be used again; a mapping's own keys beat merged ones."""
    settings = load(
        """
        providers:
          a: &base {base_url: "http://a/v1", timeout: 3s, concurrency: 2}
          b: {<<: *base, timeout: 7s}
        chains: {default: [a/m, b/m]}
        """
    )
    b = settings.providers["b"]
    assert (b.base_url, b.timeout, b.concurrency) == ("http://a/v1", 7.0, 2)


def test_a_byte_order_mark_is_skipped(load: Load) -> None:
    """Editors on Windows begin a file with one."""
    assert load(b"\xef\xbb\xbf" + REST.encode()).chains


def test_yamls_own_tags_say_what_a_value_is(load: Load) -> None:
    """`!!str` makes text of a number; a number that is none is a mistake like any other."""
    with pytest.raises(SettingsError) as caught:
        load(REST + "default_chain: !!str 5\nqueue: {max_size: !!int many}\n")
    assert caught.value.problems == [
        "stepwell.yaml:3: default_chain: unknown chain '5'; known: default",
        "stepwell.yaml:4: queue.max_size: this must be a whole number",
    ]


def test_several_mappings_may_be_merged(load: Load) -> None:
    """Of two that say the same the first wins."""
    text = """
        providers:
          a: &a {base_url: "http://a/v1", timeout: 1s}
          b: &b {base_url: "http://b/v1", timeout: 2s, concurrency: 2}
          c: {<<: [*a, *b]}
        chains: {default: [c/m]}
        """
    c = load(text).providers["c"]
    assert (c.base_url, c.timeout, c.concurrency) == ("http://a/v1", 1.0, 2)


def test_words_of_yaml_1_1_stay_text(load: Load) -> None:
    """`on` and `no` name chains, and no date or base-60 number is made of a word."""
    settings = load(
        'providers: {no: {base_url: "http://a/v1"}}\nchains: {on: [no/12:30, no/2026-01-01]}\n'
    )
    assert [step.model for step in settings.chains["on"].steps] == ["12:30", "2026-01-01"]


def test_nothing_after_a_key_is_nothing_said(load: Load) -> None:
    """A section of which only the name is left keeps its defaults."""
    assert load("queue:\nstreams:\n" + REST).queue.max_size == 1000


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("${SET}", "found"),
        ("a${SET}b${SET}", "afoundbfound"),
        ("${UNSET:-fallback}", "fallback"),
        ("${EMPTY:-fallback}", "fallback"),
        ("${SET:-fallback}", "found"),
        ("x${UNSET:-}y", "xy"),
        ("$${SET}", "${SET}"),
        ("$$$${SET}", "$${SET}"),
        ("$SET", "$SET"),
        ("${NESTED}", "${SET}"),
        ("${YAML}", "[a,b]"),
    ],
)
def test_variables_are_filled_in_once(
    load: Load, monkeypatch: pytest.MonkeyPatch, written: str, value: str
) -> None:
    """References follow the shell's rules, and what they yield is text that is not read again."""
    for name, text in {"SET": "found", "EMPTY": "", "NESTED": "${SET}", "YAML": "[a,b]"}.items():
        monkeypatch.setenv(name, text)
    settings = load(
        f'providers: {{a: {{base_url: "http://a/v1"}}}}\nchains: {{"x": ["a/{written}"]}}'
    )
    assert settings.chains["x"].steps[0].model == value


def test_variables_are_not_filled_in_keys_and_comments(load: Load) -> None:
    """Only values hold references."""
    settings = load(
        '# ${NOT_SET}\nproviders: {a: {base_url: "http://a/v1"}}\nchains: {"${X}": [a/m]}'
    )
    assert list(settings.chains) == ["${X}"]


def test_a_missing_variable_that_is_overridden_is_not_missed(load: Load) -> None:
    """Nobody has to set what nobody reads."""
    text = 'api_keys: ["${STEPWELL_API_KEY}"]\n' + REST
    assert load(text, api_keys=["sk-from-code"]).api_keys[0].key.reveal() == "sk-from-code"
