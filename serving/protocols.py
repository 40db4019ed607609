"""What FFmpeg may open for a camera: explicit lists of protocols and of containers.

Left to itself it follows playlists and scripts (HLS, DASH, concat, SDP, image patterns) to other files of
this machine and to other hosts, whatever the file that holds them is called.
"""

from pathlib import Path
from urllib.parse import urlsplit

from reid.addresses import is_url

__all__ = ["SCHEMES", "container_options", "is_playlist", "scheme_problem"]

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
    if parts.scheme not in SCHEMES:
        return (
            f"the address has no scheme that a camera may have: want one of {', '.join(SCHEMES)}, "
            "and a file by its path"
        )
    return None if host else "the address names no host"


def container_options(source: str) -> dict[str, str]:
    """Options of FFmpeg's ``avformat_open_input`` for a file or an address."""
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
        return stream.read(16).lstrip(b"\xef\xbb\xbf \r\n").startswith(_SCRIPTS)
