"""The pictures' bytes of a stored MP4, which its index can do without.

An MP4 says in one table how large each packet is, when it is shown and whether decoding can begin there, and
keeps the packets themselves in one box. Whoever makes the index of such a file in a store reads the table and
the first pictures, and not the rest, which would be the whole file.
"""

from serving.stores.stored_file import StoredFile

__all__ = ["skip_payload"]

_MOST_BOXES = 64  # at the top of a file; more are fragments, each with a table of its own


def skip_payload(file: StoredFile) -> None:
    """Read an MP4's packets as zeros from now on; of one without a table of them all, nothing changes."""
    place = file.tell()
    begin, end = _payload(file)
    file.seek(place)
    file.hollow_out(begin, end)


def _payload(file: StoredFile) -> tuple[int, int]:
    """Where the one ``mdat`` box of a file lies; (0, 0) where there are several, or fragments."""
    place, found = 0, (0, 0)
    for _ in range(_MOST_BOXES):
        if place >= file.size:
            return found
        file.seek(place)
        head = file.read(16)
        size, kind = int.from_bytes(head[:4], "big"), head[4:8]
        size = int.from_bytes(head[8:16], "big") if size == 1 else size or file.size - place
        if size < 8 or kind == b"moof" or (kind == b"mdat" and found != (0, 0)):
            return 0, 0
        if kind == b"mdat":
            found = place + len(head), min(place + size, file.size)
        place += size
    return 0, 0
