"""No member of an archive leaves the target folder."""

import io
import tarfile
import zipfile

import pytest
from refusals import refused

from softlabels.data.unpack import unpack
from softlabels.errors import DataError


def archive(path, *members):
    with tarfile.open(path, "w:gz") as tar:
        for member, content in members:
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return path


def member(name, kind=tarfile.REGTYPE, link=""):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    return info


GOOD = (member("data/fine.txt"), b"fine")
ATTACKS = {
    "parent": [(member("../evil.txt"), b"x")],
    "parent inside": [(member("data/../../evil.txt"), b"x")],
    "absolute": [(member("/tmp/softlabels-evil.txt"), b"x")],
    "symlink out": [(member("evil", tarfile.SYMTYPE, "../.."), b""), (member("evil/x.txt"), b"x")],
    "absolute symlink": [(member("evil", tarfile.SYMTYPE, "/etc/passwd"), b"")],
    "hard link out": [(member("evil", tarfile.LNKTYPE, "../outside.txt"), b"")],
    "device": [(member("evil", tarfile.CHRTYPE), b"")],
    "pipe": [(member("evil", tarfile.FIFOTYPE), b"")],
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_attacks_are_refused_by_name_and_leave_nothing(attack, tmp_path):
    (tmp_path / "outside.txt").write_text("secret")
    path = archive(tmp_path / "a.tar.gz", GOOD, *ATTACKS[attack])
    with refused(DataError, "a.tar.gz", ATTACKS[attack][0][0].name):
        unpack(path, tmp_path / "in" / "target")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.tar.gz", "outside.txt"]
    assert (tmp_path / "outside.txt").read_text() == "secret"


def test_a_chain_of_links_does_not_lead_out(tmp_path):
    """Each link alone seems to stay inside; together they climb."""
    links = [(member("a", tarfile.SYMTYPE, "."), b""), (member("a/b", tarfile.SYMTYPE, ".."), b"")]
    path = archive(tmp_path / "a.tar.gz", *links, (member("b/evil.txt"), b"x"))
    with refused(DataError, "a.tar.gz"):
        unpack(path, tmp_path / "target")
    assert not (tmp_path / "evil.txt").exists()


def test_good_archive_and_links_inside(tmp_path):
    link = (member("data/link.txt", tarfile.SYMTYPE, "fine.txt"), b"")
    unpack(archive(tmp_path / "a.tar.gz", GOOD, link), tmp_path / "target")
    assert (tmp_path / "target" / "data" / "link.txt").read_text() == "fine"


@pytest.mark.parametrize("damage", [lambda raw: raw[:-30], lambda raw: b"no archive"])
def test_damaged_archive_is_named(damage, tmp_path):
    path = archive(tmp_path / "a.tar.gz", GOOD)
    path.write_bytes(damage(path.read_bytes()))
    with refused(DataError, "a.tar.gz"):
        unpack(path, tmp_path / "target")


@pytest.mark.parametrize("name", ["../evil.txt", "data/../../evil.txt", "/tmp/softlabels-evil.txt"])
def test_a_zip_archive_that_leaves_the_folder_is_refused(name, tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as opened:
        opened.writestr("data/fine.txt", "fine")
        opened.writestr(name, "x")
    with refused(DataError, "a.zip", name):
        unpack(tmp_path / "a.zip", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_truncated_zip_archive_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as opened:
        opened.writestr("data/fine.txt", "fine" * 1000)
    unpack(tmp_path / "a.zip", tmp_path / "out")
    assert (tmp_path / "out" / "data" / "fine.txt").read_text() == "fine" * 1000
    content = (tmp_path / "a.zip").read_bytes()
    (tmp_path / "a.zip").write_bytes(content[: len(content) // 2])
    with refused(DataError, "a.zip"):
        unpack(tmp_path / "a.zip", tmp_path / "again")
