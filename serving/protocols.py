"""What FFmpeg may open for a camera: explicit lists of protocols and of containers.

Left to itself it follows playlists and scripts (HLS, DASH, concat, SDP, image patterns) to other files of
this machine and to other hosts, whatever the file that holds them is called.
"""

from pathlib import Path
from urllib.parse import urlsplit

from reid.addresses import is_url

__all__ = [
    "SCHEMES",
    "STORES",
    "container_options",
    "is_playlist",
    "is_playlist_head",
    "is_stored",
    "is_stream",
    "scheme_problem",
]

_WEB = "http,https,httpproxy,tls,tcp"
SCHEMES = {
    "http": _WEB,
    "https": _WEB,
    "rtsp": "rtsp,rtp,udp,tcp",
    "rtsps": "rtsps,rtp,tls,udp,tcp",
    "rtmp": "rtmp,tcp",
    "rtmps": "rtmps,tls,tcp",
    "rtp": "rtp,udp",
    "srt": "srt",
    "tcp": "tcp",
    "udp": "udp",
}
"""The schemes of addresses that a job may name, each with the protocols that FFmpeg needs for it."""
STORES = {
    "s3": ("s3fs", "s3"),
    "gs": ("gcsfs", "gcs"),
    "gcs": ("gcsfs", "gcs"),
    "az": ("adlfs", "azure"),
    "abfs": ("adlfs", "azure"),
    "sftp": ("paramiko", "sftp"),
    "range+http": ("aiohttp", "http"),
    "range+https": ("aiohttp", "http"),
    "cluster": ("ray", "train"),
}
"""The schemes of stores whose files are read by ranges, each with the package that fsspec needs for it and
the extra that brings it. ``cluster`` is this program's own: files of the machine on which a job of a Ray
cluster was started.
"""
_CONTAINERS = (
    *(
        "mov",
        "mp4",
        "m4a",
        "3gp",
        "3g2",
        "mj2",
        "matroska",
        "webm",
        "avi",
        "mpegts",
        "mpeg",
        "mpegvideo",
        "m4v",
        "h261",
        "h263",
        "h264",
    ),
    *(
        "hevc",
        "vvc",
        "av1",
        "obu",
        "ivf",
        "mjpeg",
        "mjpeg_2000",
        "mpjpeg",
        "dhav",
        "dv",
        "flv",
        "live_flv",
        "asf",
        "ogg",
        "mxf",
        "wtv",
    ),
    *("nut", "rm", "gif", "apng", "yuv4mpegpipe", "ingenient", "swf", "roq", "film_cpk"),
    *("bmp_pipe", "j2k_pipe", "jpeg_pipe", "jpegls_pipe", "png_pipe", "tiff_pipe", "webp_pipe"),
    *("wav", "mp3", "flac", "aac", "aiff"),  # without pictures: so that this can be said
)
_STREAMS = ("rtsp", "rtp")
_SCRIPTS = (b"#EXTM3U", b"ffconcat", b"<?xml", b"<MPD", b"v=0")


def is_stored(source: str) -> bool:
    """Whether a source is a file, or a glob of files, in a store that is read by ranges."""
    return is_url(source) and source.partition("://")[0].lower() in STORES


def is_stream(source: str) -> bool:
    """Whether a source is an address that is read once from front to end, by FFmpeg's own protocols."""
    return is_url(source) and not is_stored(source)


def scheme_problem(source: str) -> str | None:
    """Why an address cannot be a camera's source, without repeating the address; None where it can."""
    try:
        parts = urlsplit(source)
        host = parts.hostname
        _ = parts.port  # refuses what is no number
    except ValueError:
        return (
            "the address is not complete: want e.g. rtsp://host:554/path, an IPv6 host in brackets, and in a "
            "password %2F for / and %40 for @"
        )
    if parts.scheme not in SCHEMES and (parts.scheme not in STORES or parts.scheme == "cluster"):
        named = ", ".join((*SCHEMES, *(name for name in STORES if name != "cluster")))
        return (
            f"the address has no scheme that a camera may have: want one of {named}, and a file by its path"
        )
    if parts.scheme in STORES and (
        "@" in parts.netloc if parts.scheme != "sftp" else parts.password is not None
    ):
        return "credentials of a store come from the environment alone: take them out of the address"
    return None if host else "the address names no host"


def container_options(source: str) -> dict[str, str]:
    """Options of FFmpeg's ``avformat_open_input`` for a file or an address."""
    if is_stored(source):  # FFmpeg itself opens nothing, it is handed the bytes
        return {"protocol_whitelist": "none", "format_whitelist": ",".join(_CONTAINERS)}
    if not is_url(source):
        return {"protocol_whitelist": "file", "format_whitelist": ",".join(_CONTAINERS)}
    scheme = source.partition("://")[0].lower()
    options = {
        "protocol_whitelist": SCHEMES.get(scheme, "none"),
        "format_whitelist": ",".join((*_CONTAINERS, *_STREAMS)),
    }
    # Over UDP, lost packets are grey pictures.
    return options | ({"rtsp_transport": "tcp"} if scheme.startswith("rtsp") else {})


def is_playlist(path: Path) -> bool:
    """Whether a file holds names of others instead of pictures, by its first bytes."""
    with path.open("rb") as stream:
        return is_playlist_head(stream.read(16))


def is_playlist_head(head: bytes) -> bool:
    """Whether the first 16 bytes of a file are those of a playlist."""
    return head.lstrip(b"\xef\xbb\xbf \r\n").startswith(_SCRIPTS)
