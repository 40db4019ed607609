"""Encrypted galleries: nothing readable in the file, nothing opens without the key, and the key is shown
nowhere.
"""

from pathlib import Path

import numpy as np
import pytest

from reid.errors import ReidError, UsageError
from serving.gallery import Gallery, key_from_environment, write_key
from serving.gallery.index.build import build_index
from serving.gallery.index.compact import CompactIndex
from serving.gallery.transfer import encrypt_gallery
from tests.serving.cipher import needs_cipher
from tests.serving.rows import pieces_in_files, unit_rows

KEY = bytes(range(32))


@needs_cipher
def test_nothing_readable_is_in_the_files(tmp_path: Path) -> None:
    path = tmp_path / "gallery.db"
    rows = unit_rows(600, 64)
    with Gallery.open(path, "model-a", create=True, key=KEY) as gallery:
        gallery.enroll("Anna Andersson", rows[:300], source="secret/anna.png")
        gallery.enroll("bert", rows[300:])
        build_index(gallery, "fp16")
        for _ in range(2):  # with the log beside it, and after closing
            content = b"".join(file.read_bytes() for file in tmp_path.iterdir())
            assert b"SQLite format 3" not in content
            for text in (b"Anna", b"secret", b"model-a", b"CREATE TABLE", b"IxSQ"):
                assert text not in content
            assert pieces_in_files(tmp_path, rows) == 0
            gallery.close()
    with Gallery.open(path, "model-a", key=KEY) as again:
        assert again.search(rows[:1], 1) == [[("Anna Andersson", 0.0)]]
        assert CompactIndex(again).search(rows[-1:], 1) == [[("bert", 0.0)]]
        assert again.remove("bert").purged
        assert again.verify().problems == ()


@needs_cipher
def test_without_the_key_nothing_opens(tmp_path: Path) -> None:
    path, plain = tmp_path / "gallery.db", tmp_path / "plain.db"
    with Gallery.open(path, "m", create=True, key=KEY) as gallery:
        gallery.enroll("anna", unit_rows(1))
    Gallery.open(plain, "m", create=True).close()
    content = path.read_bytes()
    for file, key, message in (
        (
            path,
            None,
            (
                "is not a gallery, or is damaged or encrypted: check the path, restore a copy, or set "
                "REID_GALLERY_KEY_FILE"
            ),
        ),
        (path, KEY[::-1], "has another key: check path and key"),
        (plain, KEY, "is not encrypted although a key is given: run `reid gallery encrypt"),
    ):
        with pytest.raises(ReidError, match=message) as caught:
            Gallery.open(file, "m", key=key)
        assert "\n" not in str(caught.value)
        assert KEY.hex() not in str(caught.value)
    assert path.read_bytes() == content


@needs_cipher
def test_a_plain_gallery_is_copied_encrypted_with_all_it_holds(tmp_path: Path) -> None:
    plain, out = tmp_path / "plain.db", tmp_path / "safe" / "gallery.db"
    rows = unit_rows(20)
    with Gallery.open(plain, "m", create=True, who="tester") as gallery:
        gallery.enroll("anna", rows[:12], camera="c1")
        gallery.enroll("bert", rows[12:])
        gallery.set_retention(9)
        encrypt_gallery(plain, out, KEY)
        with Gallery.open(out, "m", key=KEY) as copy:
            assert (copy.version, copy.retain_days, copy.people(), copy.audit()) == (
                3,
                9,
                gallery.people(),
                gallery.audit(),
            )
            for one, other in zip(gallery.references(), copy.references(), strict=True):
                np.testing.assert_array_equal(one, other)
            copy.enroll("carl", unit_rows(1, seed=3))
            assert copy.verify().problems == ()
    assert pieces_in_files(out.parent, rows) == 0
    assert out.stat().st_mode & 0o077 == 0
    with pytest.raises(UsageError, match="exists: name a new file"):
        encrypt_gallery(plain, out, KEY)
    with pytest.raises(ReidError, match="is not a gallery"):
        encrypt_gallery(out, tmp_path / "twice.db", KEY)
    assert not (tmp_path / "twice.db").exists()


def test_a_key_comes_from_a_private_file_or_the_environment(tmp_path: Path) -> None:
    file = tmp_path / "key"
    write_key(file)
    key = key_from_environment({"REID_GALLERY_KEY_FILE": str(file)})
    assert key is not None
    assert len(key) == 32
    assert key_from_environment({"REID_GALLERY_KEY": key.hex()}) == key
    assert key_from_environment({}) is None
    with pytest.raises(UsageError, match="exists: name a new file"):
        write_key(file)
    with pytest.raises(UsageError, match="are both set"):
        key_from_environment({"REID_GALLERY_KEY": key.hex(), "REID_GALLERY_KEY_FILE": str(file)})
    with pytest.raises(UsageError, match=r"key file .*absent does not exist"):
        key_from_environment({"REID_GALLERY_KEY_FILE": str(tmp_path / "absent")})
    file.chmod(0o640)
    with pytest.raises(ReidError, match=r"key file .* must be private .*mode 0640\): run chmod 600"):
        key_from_environment({"REID_GALLERY_KEY_FILE": str(file)})


@pytest.mark.parametrize("text", ["hunter2", "ab" * 31, "ab" * 33, "zz" * 32, "\udcff"])
def test_what_is_no_key_is_refused_without_being_shown(tmp_path: Path, text: str) -> None:
    file = tmp_path / "key"
    file.write_bytes(text.encode(errors="surrogateescape"))
    file.chmod(0o600)
    for environment in ({"REID_GALLERY_KEY": text}, {"REID_GALLERY_KEY_FILE": str(file)}):
        with pytest.raises(ReidError, match="make") as caught:
            key_from_environment(environment)
        assert text not in str(caught.value)


def test_encryption_without_its_library_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "sqlcipher3.dbapi2", None)
    with pytest.raises(UsageError, match="needs the package sqlcipher3: install it with"):
        Gallery.open(tmp_path / "g.db", "m", create=True, key=KEY)
    assert list(tmp_path.iterdir()) == []
