"""Tags that programs put at the end of any audio file: ID3v1, ID3v2.4, APEv1 and 2, Lyrics3.

Sources: id3.org, "ID3v2.4 structure" and "Lyrics3 v2.00"; wiki.hydrogenaud.io, "APEv2
specification".
"""

from __future__ import annotations

from bigcodec_models.audio.content import Content

ID3V1_BYTES, APE_BYTES = 128, 32
LYRICS_MARK = b"LYRICSBEGIN"
LONGEST_LYRICS, LONGEST_APE_ITEMS = 1 << 20, 1 << 16
_LYRICS_END, _LYRICS_END_1 = b"LYRICS200", b"LYRICSEND"
_LONGEST_LYRICS_1 = 5100 + 20
"""Of the first version of Lyrics3, which does not tell its size."""
_PIECE_BYTES = 1 << 20
"""How much of the end is searched at a time."""
_MANY_ZEROS = 16
"""So many zeros in a row are padding, and no end of a checksum."""


def before_tags(content: Content, start: int, stop: int, zeros: int = _MANY_ZEROS) -> int:
    """Where the tags begin that end bytes `start` to `stop`; `stop` if there are none.

    So are `zeros` zeros or more; 0 stands for none.
    """
    while start <= (place := _before_tag(content, start, stop, zeros)) < stop:
        stop = place
    return stop


def _before_tag(content: Content, start: int, stop: int, zeros: int) -> int:
    if content.part(max(stop - ID3V1_BYTES, 0), 3) == b"TAG":
        return stop - ID3V1_BYTES
    footer = content.part(max(stop - APE_BYTES, 0), APE_BYTES)
    if footer[:8] == b"APETAGEX":
        size, flags = (int.from_bytes(footer[at : at + 4], "little") for at in (12, 20))
        is_header, has_header = flags >> 29 & 1, flags >> 31
        return stop - (APE_BYTES if is_header else size + APE_BYTES * has_header)
    if footer[-9:] in (_LYRICS_END, _LYRICS_END_1):
        return _before_lyrics(content, stop, footer)
    length = min(stop - start, _PIECE_BYTES)
    piece = content.part(stop - length, length)
    if id3v2 := _id3v2_bytes(piece):
        return stop - id3v2
    count = len(piece) - len(piece.rstrip(b"\0"))
    return stop - count if zeros and count >= zeros else stop


def _before_lyrics(content: Content, stop: int, end: bytes) -> int:
    """Where Lyrics3 begins that ends at a byte; `end` are the last bytes of it, which tell its size
    in the second version of the format."""
    if end[-9:] == _LYRICS_END:
        size = end[-15:-9]
        return stop - 15 - int(size) if size.isdigit() else stop
    piece = content.part(max(stop - _LONGEST_LYRICS_1, 0), min(stop, _LONGEST_LYRICS_1))
    place = piece.rfind(LYRICS_MARK)
    return stop - (len(piece) - place) if place >= 0 else stop


def after_lyrics(piece: bytes) -> int:
    """The length of Lyrics3 that begins these bytes, 0 if they do not hold its end."""
    places = [piece.find(end) for end in (_LYRICS_END, _LYRICS_END_1)]
    return min((place + 9 for place in places if place >= 0), default=0)


def _id3v2_bytes(piece: bytes) -> int:
    """The length of an ID3v2 tag that ends these bytes, such as stands before the next stream."""
    at = -1
    while (at := piece.find(b"ID3", at + 1)) >= 0:
        if after_id3v2(piece[at : at + 10], at) == len(piece):
            return len(piece) - at
    return 0


def after_id3v2(header: bytes, at: int) -> int:
    """The byte after an ID3v2 tag whose header of 10 bytes begins at a byte; that byte if it is
    none."""
    if len(header) < 10 or header[:3] != b"ID3" or any(byte & 0x80 for byte in header[6:]):
        return at
    size = header[6] << 21 | header[7] << 14 | header[8] << 7 | header[9]
    return at + 10 + size + (10 if header[5] & 0x10 else 0)


def after_ape_items(piece: bytes) -> int:
    """The length of an APE tag without a header that begins these bytes, 0 if none does."""
    place = piece.find(b"APETAGEX")
    size = int.from_bytes(piece[place + 12 : place + 16], "little")
    return size if 0 < place == size - APE_BYTES else 0
