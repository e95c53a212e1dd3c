import hmac
from pathlib import Path
from unittest.mock import patch

import pytest

from graphs.api_keys import ApiKeys, ApiKeySource, Owner, Priority, read_keys
from graphs.errors import ConfigurationError


def _keys(tmp_path: Path, text: str | bytes) -> ApiKeys:
    path = tmp_path / "keys"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_keys(path)


def _owner(keys: ApiKeys, key: str) -> Owner:
    owner = keys.owner_of(key)
    assert owner is not None
    return owner


def test_without_keys_the_server_is_open() -> None:
    assert read_keys(None).is_open
    assert read_keys(None, "").is_open
    assert read_keys(None).owner_of("anything") is None


def test_a_single_key_is_an_administrators() -> None:
    keys = read_keys(None, "secret")
    assert not keys.is_open
    assert _owner(keys, "secret").is_administrator
    assert keys.owner_of("secret ") is None


def test_the_first_line_alone_works(tmp_path: Path) -> None:
    for text in ("secret", "secret\n", "secret\r\n", "  secret  \n\n", b"\xef\xbb\xbfsecret\n"):
        assert _owner(_keys(tmp_path, text), "secret").is_administrator


def test_a_file_takes_precedence_over_a_single_key(tmp_path: Path) -> None:
    (tmp_path / "keys").write_text("filed")
    keys = read_keys(tmp_path / "keys", "single")
    assert (keys.owner_of("filed") is None, keys.owner_of("single") is None) == (False, True)


def test_keys_have_words_after_them(tmp_path: Path) -> None:
    keys = _keys(tmp_path, "# ours\n\none max_priority=normal\ntwo\tmax_priority=low admin\n  #x y\nthree\n")
    one, two, three = (_owner(keys, key) for key in ("one", "two", "three"))
    assert [owner.max_priority for owner in (one, two, three)] == [Priority.NORMAL, Priority.LOW, Priority.HIGH]
    assert [owner.is_administrator for owner in (one, two, three)] == [True, True, False]
    assert keys.owner_of("#x") is None


def test_what_follows_a_number_sign_behind_a_key_is_a_comment(tmp_path: Path) -> None:
    keys = _keys(tmp_path, "one#1 # the first\ntwo max_priority=low #of the web page, admin\n")
    assert _owner(keys, "one#1").is_administrator
    assert _owner(keys, "two").max_priority is Priority.LOW
    assert not _owner(keys, "two").is_administrator


def test_the_file_of_the_documentation_is_read(tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "keys.md").read_text()
    shown = page.partition("```text\n")[2].partition("```")[0]
    keys = _keys(tmp_path, shown)
    owners = [_owner(keys, line.split()[0]) for line in shown.splitlines()[1:]]
    assert [owner.is_administrator for owner in owners] == [True, False, False, True, False]
    assert [owner.max_priority for owner in owners[2:4]] == [Priority.LOW, Priority.NORMAL]
    assert owners[1].requests_per_minute == 30


def test_a_key_has_its_own_rate(tmp_path: Path) -> None:
    keys = _keys(tmp_path, "one requests_per_minute=30\ntwo max_priority=low requests_per_minute=1\nthree\n")
    assert [_owner(keys, key).requests_per_minute for key in ("one", "two", "three")] == [30, 1, None]


def test_a_key_has_a_label(tmp_path: Path) -> None:
    keys = _keys(tmp_path, "one label=studio-1\ntwo\n")
    one, two = (_owner(keys, key) for key in ("one", "two"))
    assert (one.label, one.shown, two.label, two.shown) == ("studio-1", "studio-1", "", two.id)
    assert keys.labelled("studio-1") == one and keys.labelled(two.id) == two
    assert keys.labelled("") is None and keys.labelled("none") is None
    assert (keys.shown(one.id), keys.shown("of a key that is gone")) == ("studio-1", "of a key that is gone")


def test_a_label_is_that_of_one_key(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="keys:2: label=a stands at another key too"):
        _keys(tmp_path, "one label=a\ntwo label=a\n")


@pytest.mark.parametrize(
    "word",
    [
        "label=",
        "label=a/b",
        "label=-a",
        "root",
        "max_priority",
        "max_priority=",
        "max_priority=top",
        "admin=yes",
        "ADMIN",
        "requests_per_minute=0",
    ],
)
def test_an_unknown_word_is_named_with_its_line(tmp_path: Path, word: str) -> None:
    with pytest.raises(ConfigurationError, match=rf"keys:3: '{word}' is neither"):
        _keys(tmp_path, f"one\n\ntwo {word}\n")


@pytest.mark.parametrize("text", ["", "\n\n", "# nothing\n", b"\xff\xfe"])
def test_a_file_without_keys_is_refused(tmp_path: Path, text: str | bytes) -> None:
    with pytest.raises(ConfigurationError, match="keys"):
        _keys(tmp_path, text)


def test_an_absent_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="cannot be read"):
        read_keys(tmp_path / "nothing")


def test_the_id_of_an_owner_does_not_reveal_its_key(tmp_path: Path) -> None:
    keys = _keys(tmp_path, "first-secret\nsecond-secret\n")
    ids = {_owner(keys, key).id for key in ("first-secret", "second-secret")}
    assert len(ids) == 2
    assert not [owner_id for owner_id in ids if "secret" in owner_id]
    assert _owner(_keys(tmp_path, "x\nfirst-secret"), "first-secret").id in ids


@pytest.mark.parametrize("key", ["a", "b", "c", "wrong", "", "ж", "\udcff"])
def test_every_key_is_compared_in_every_lookup(tmp_path: Path, key: str) -> None:
    keys = _keys(tmp_path, "a\nb\nc\n")
    with patch.object(hmac, "compare_digest", wraps=hmac.compare_digest) as compared:
        keys.owner_of(key)
    assert compared.call_count == 3
    assert {len(digest) for call in compared.call_args_list for digest in call.args} == {32}


@pytest.mark.parametrize("highest", list(Priority))
@pytest.mark.parametrize("requested", list(Priority))
def test_a_priority_is_capped(requested: Priority, highest: Priority) -> None:
    assert Owner("x", highest).capped(requested).rank == max(requested.rank, highest.rank)


def test_a_key_file_that_all_can_read_is_warned_of_at_the_start_and_when_it_changes(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "keys"
    path.write_text("a-key\n")
    path.chmod(0o600)
    source = ApiKeySource(path)
    assert caplog.text == ""
    path.chmod(0o644)
    assert source.current().owner_of("a-key")
    assert f"Every user of this machine can read the keys in {path}. Run `chmod 600 {path}`." in caplog.text
    source.current()
    ApiKeySource(path)
    assert caplog.text.count("Every user") == 2
