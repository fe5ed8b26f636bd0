"""Large files of the local Hub: LFS objects in a folder, and what hf_xet put into its `local://` store."""

from __future__ import annotations

import hashlib
import struct
import subprocess
import sys
from pathlib import Path

FILE_HEADER, SECTION_END = 48, b"\xff" * 32
HAS_VERIFICATION, HAS_SHA256 = 1 << 31, 1 << 30


class LargeFiles:
    """Finds a large file by SHA-256, however it was sent."""

    def __init__(self, root: Path) -> None:
        self.objects = root / "lfs"
        self.parts = root / "parts"
        self.xet = root / "xet-store"
        self.bridge = root / "xet-files"
        for folder in (self.objects, self.parts, self.xet, self.bridge):
            folder.mkdir(parents=True, exist_ok=True)
        self._xet_hashes: dict[str, tuple[str, int]] = {}
        self._read_shards: set[Path] = set()

    def add(self, sha256: str, content: bytes) -> bool:
        """Store an LFS object; False where the content is not what its name says."""
        if hashlib.sha256(content).hexdigest() != sha256:
            return False
        (self.objects / sha256).write_bytes(content)
        return True

    def size(self, sha256: str) -> int | None:
        """Size in bytes of a stored file; None where there is none."""
        file = self.objects / sha256
        if file.exists():
            return file.stat().st_size
        found = self._find_in_shards(sha256)
        return found[1] if found else None

    def xet_hash(self, sha256: str) -> str | None:
        """The Xet name of a file that came through Xet."""
        found = self._find_in_shards(sha256)
        return found[0] if found else None

    def file(self, sha256: str) -> Path:
        """The content as a file; what came through Xet is put together first, as the Hub does for plain HTTP."""
        stored = self.objects / sha256
        if stored.exists():
            return stored
        found = self._find_in_shards(sha256)
        assert found is not None
        target = self.bridge / sha256
        if not target.exists():
            self._download(found[0], found[1], target)
        return target

    def stored_bytes(self) -> int:
        """Bytes that uploads have added so far: LFS objects and Xet chunks."""
        files = [*self.objects.iterdir(), *(self.xet / "xet" / "xorbs" / "xorbs").glob("default.*")]
        return sum(file.stat().st_size for file in files if not file.name.endswith(".tagset"))

    def _find_in_shards(self, sha256: str) -> tuple[str, int] | None:
        if sha256 not in self._xet_hashes:
            for shard in (self.xet / "xet" / "xorbs" / "shards").glob("*.mdb"):
                if shard not in self._read_shards:
                    self._xet_hashes |= read_shard(shard.read_bytes())
                    self._read_shards.add(shard)
        return self._xet_hashes.get(sha256)

    def _download(self, name: str, size: int, target: Path) -> None:
        # In a process of its own: the store's index belongs to one process at a time.
        code = (
            "import sys, hf_xet\n"
            "store, name, size, target = sys.argv[1:]\n"
            "with hf_xet.XetSession().new_file_download_group(\n"
            "    endpoint=store, token='t', token_expiry_unix_secs=9999999999) as group:\n"
            "    group.start_download_file(hf_xet.XetFileInfo(name, int(size)), target)\n"
        )
        temporary = f"{target}.part"
        subprocess.run([sys.executable, "-c", code, f"local://{self.xet}", name, str(size), temporary], check=True)
        Path(temporary).rename(target)


def read_shard(data: bytes) -> dict[str, tuple[str, int]]:
    """The files of a Xet shard: SHA-256 -> (Xet name, size in bytes). Names are four little-endian 64-bit numbers."""
    found: dict[str, tuple[str, int]] = {}
    at = FILE_HEADER
    while (name := data[at : at + 32]) != SECTION_END:
        flags, entries = struct.unpack_from("<II", data, at + 32)
        at += 48
        size = sum(struct.unpack_from("<I", data, at + 48 * number + 36)[0] for number in range(entries))
        at += 48 * entries * (2 if flags & HAS_VERIFICATION else 1)
        if flags & HAS_SHA256:
            found[_hex(data[at : at + 32])] = (_hex(name), size)
            at += 48
    return found


def _hex(name: bytes) -> str:
    return b"".join(name[start : start + 8][::-1] for start in range(0, 32, 8)).hex()
