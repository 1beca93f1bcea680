import pytest

from druse_store import Store
from druse_store.errors import ReadOnlyStore, UnsupportedFilesystem
from druse_store.filesystems import ALLOWED, Mount, mount_of
from support import mounts

MOUNTINFO = r"""
21 1 8:1 / / rw,relatime - ext4 /dev/sda1 rw
22 21 0:20 / /proc rw - proc proc rw
30 21 0:40 / /home rw,relatime shared:1 - nfs4 server:/home rw,vers=4.2
31 30 0:41 / /home/user/with\040space rw - tmpfs tmpfs rw
32 21 8:2 / /data ro,relatime - xfs /dev/sdb1 rw
33 21 8:3 / /frozen rw,relatime - ext4 /dev/sdc1 ro
34 21 0:50 / /data2 rw - fuse.sshfs host:/ rw
35 34 0:51 / /data2 rw - btrfs /dev/sdd1 rw
garbage
"""


@pytest.mark.parametrize(
    ("path", "mount"),
    [
        ("/", Mount("/", "ext4", False)),
        ("/usr/share", Mount("/", "ext4", False)),
        ("/home/user", Mount("/home", "nfs4", False)),
        ("/homes", Mount("/", "ext4", False)),
        ("/home/user/with space/x", Mount("/home/user/with space", "tmpfs", False)),
        ("/data/x", Mount("/data", "xfs", True)),
        ("/frozen", Mount("/frozen", "ext4", True, frozen=True)),
        ("/data2/x", Mount("/data2", "btrfs", False)),  # mounted over the other one
    ],
)
def test_the_innermost_and_latest_mount_counts(path, mount):
    assert mount_of(path, MOUNTINFO) == mount


def test_without_any_mount_nothing_is_claimed():
    assert mount_of("/x", "") is None


@pytest.mark.parametrize(
    "kind", ["nfs", "nfs4", "cifs", "smb3", "fuse.sshfs", "fuse", "9p", "lustre", "gpfs", "ceph"]
)
def test_network_and_user_space_filesystems_are_not_allowed(kind):
    assert kind not in ALLOWED


def test_what_is_not_allowed_is_refused_with_what_serves_instead(tmp_path):
    with mounts.mounted(tmp_path / "disk", "ramfs") as disk:
        with pytest.raises(
            UnsupportedFilesystem, match=r"(?s)ramfs .*druse remote add NAME file://"
        ):
            Store.open(disk / "store")
        assert list(disk.iterdir()) == []
        with Store.open(disk / "store", any_filesystem=True) as store:
            assert store.get(store.put(b"x")) == b"x"
        with pytest.raises(UnsupportedFilesystem):
            Store.open(disk / "store")


def test_a_read_only_mount_is_refused_unless_it_is_said_that_nobody_writes(
    tmp_path,
):
    with Store.open(tmp_path / "store") as store:
        digest = store.put(b"x")
        with mounts.read_only(tmp_path / "store", tmp_path / "mount") as place:
            with pytest.raises(ReadOnlyStore, match="mounted read-only"):
                Store.open(place)
            with pytest.raises(ReadOnlyStore, match="immutable=True"):
                Store.open(place, read_only=True)
            with Store.open(place, immutable=True) as frozen:
                assert frozen.get(digest) == b"x"
                assert frozen.open_blob(digest).read() == b"x"
                with pytest.raises(ReadOnlyStore):
                    frozen.put(b"y")
