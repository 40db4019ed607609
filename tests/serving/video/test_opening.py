"""What FFmpeg may open on behalf of a source: the file itself, or an address of a protocol that is listed."""

from pathlib import Path

import pytest

from reid.errors import ReidError
from serving.video import open_footage, read_frames
from tests.serving.tiny_footage import background, write_video

LISTS = {
    "live.m3u8": "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{other}\n#EXT-X-ENDLIST\n",
    "hidden.mp4": "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{other}\n#EXT-X-ENDLIST\n",
    "list.ffconcat": "ffconcat version 1.0\nfile {other}\n",
    "stream.sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 33\n",
    "cast.mpd": (
        '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" '
        'type="static"><BaseURL>{other}</BaseURL></MPD>'
    ),
}


@pytest.mark.parametrize("name", LISTS)
def test_a_list_of_other_files_is_no_video(name: str, tmp_path: Path) -> None:
    other = write_video(tmp_path / "other.ts", [background()] * 20)
    path = tmp_path / name
    path.write_text(LISTS[name].format(other=other.name))
    with pytest.raises(ReidError, match=r"is a playlist or script, which may lead to other files and hosts"):
        open_footage([str(path)])


@pytest.mark.parametrize(
    "source",
    ["file:///etc/passwd", "ftp://127.0.0.1/a.mp4", "concat://a|b", "data://x", "gopher://127.0.0.1/"],
)
def test_an_address_of_another_protocol_is_refused(source: str) -> None:
    with pytest.raises(
        ReidError, match=r"the address has no scheme that a camera may have: want one of http, https, rtsp"
    ):
        open_footage([source])


@pytest.mark.parametrize(
    "name", ["rtp:cam.avi", "concat:a|b.avi", "a%03d.avi", "pipe:0.avi", "c,d=e.avi", "ä ö.avi"]
)
def test_a_name_is_a_name_whatever_is_in_it(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_video(tmp_path / "plain.avi", [background()] * 5).rename(tmp_path / name)
    assert len(list(read_frames(open_footage([name])))) == 5
