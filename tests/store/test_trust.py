import pytest

from druse_store.errors import InvalidKey, KeyMissing, TrustError
from druse_store.trust import PublicKey, Signer, Trust, default_folder


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "druse"


def test_a_key_is_made_once_and_only_its_owner_may_read_it(folder):
    first = Signer.create(folder)
    assert Signer.create(folder).public == first.public == Signer.load(folder).public
    assert (folder / "key").stat().st_mode & 0o777 == 0o600
    assert folder.stat().st_mode & 0o777 == 0o700


def test_without_a_key_the_command_that_makes_one_is_named(folder):
    with pytest.raises(KeyMissing, match="druse trust init"):
        Signer.load(folder)


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604])
def test_a_key_that_others_may_read_is_refused(folder, mode):
    Signer.create(folder)
    (folder / "key").chmod(mode)
    with pytest.raises(TrustError, match="read by others"):
        Signer.load(folder)


def test_what_a_key_signed_verifies_by_it_alone(folder, tmp_path):
    signer, other = Signer.create(folder), Signer.create(tmp_path / "other")
    signature = signer.sign(b"message")
    assert signer.public.verifies(signature, b"message")
    assert not signer.public.verifies(signature, b"massage")
    assert not other.public.verifies(signature, b"message")
    assert not signer.public.verifies(signature[:-1], b"message")
    assert not PublicKey(b"\xff" * 32).verifies(signature, b"message")


def test_a_public_key_is_printed_and_read_back(folder):
    key = Signer.create(folder).public
    assert str(key).startswith("ed25519:")
    assert PublicKey.parse(f" {key}\n") == key


@pytest.mark.parametrize("text", ["", "ed25519:", "ed25519:AAAA", "rsa:AAAA", "x", "ed25519:é"])
def test_what_is_no_key_is_refused(text):
    with pytest.raises(InvalidKey, match="druse trust show"):
        PublicKey.parse(text)


def test_keys_are_trusted_by_name_until_they_are_removed(folder, tmp_path):
    trust, own = Trust(folder), Signer.create(folder).public
    ann, bob = (Signer.create(tmp_path / name).public for name in ("ann", "bob"))
    trust.add("ann", ann)
    trust.add("ann", ann)
    trust.add("bob", bob)
    assert trust.names() == {"ann": ann, "bob": bob}
    assert Trust(folder).believed() == {own: "you", ann: "ann", bob: "bob"}
    assert [trust.name_of(key) for key in (own, ann)] == ["you", "ann"]
    assert trust.remove("ann") == ann
    assert trust.name_of(ann) is None
    with pytest.raises(TrustError, match="'ann'"):
        trust.remove("ann")


def test_a_name_stands_for_one_key(folder, tmp_path):
    trust = Trust(folder)
    trust.add("ann", Signer.create(tmp_path / "ann").public)
    with pytest.raises(TrustError, match="another key"):
        trust.add("ann", Signer.create(tmp_path / "eve").public)
    with pytest.raises(TrustError, match="'you'"):
        trust.add("you", Signer.create(tmp_path / "eve").public)


def test_a_remote_is_believed_as_signed_unless_any_was_asked_for(folder):
    trust = Trust(folder)
    assert trust.policy("ab") == "signed"
    trust.set_policy("ab", "any")
    assert (trust.policy("ab"), trust.policy("cd")) == ("any", "signed")
    trust.set_policy("ab", "signed")
    assert trust.policy("ab") == "signed"


def test_a_list_that_cannot_be_read_is_an_error_and_not_an_empty_list(folder):
    trust = Trust(folder)
    trust.set_policy("ab", "any")
    trust.path.write_text('{"keys": ')
    with pytest.raises(TrustError, match=r"trusted\.json"):
        trust.believed()


def test_it_lies_in_the_users_configuration(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert default_folder() == tmp_path / "druse"
    monkeypatch.setenv("XDG_CONFIG_HOME", "relative")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert default_folder() == tmp_path / ".config" / "druse"
