"""Small files that would fill the memory."""

import struct
import zlib
from pathlib import Path


def write_bomb(path: Path, side: int) -> Path:
    """Write a PNG of a few hundred bytes that says it is a square of this side."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        checksum = zlib.crc32(kind + content)
        return struct.pack('>I', len(content)) + kind + content + checksum.to_bytes(4)

    header = struct.pack('>IIBBBBB', side, side, 8, 2, 0, 0, 0)
    path.write_bytes(
        b'\x89PNG\r\n\x1a\n'
        + chunk(b'IHDR', header)
        + chunk(b'IDAT', zlib.compress(bytes(1000)))
        + chunk(b'IEND', b'')
    )
    return path
