"""What is a file that no decoder takes for a picture? Told by its first bytes, in words its owner understands."""

_PHOTOS = {b"\xff\xd8\xff": "JPEG", b"\x89PNG": "PNG", b"GIF8": "GIF", b"II*\x00": "TIFF", b"MM\x00*": "TIFF"}
_OTHERS = {
    b"PK\x03\x04": "a zip archive",
    b"%PDF": "a PDF document",
    b"8BPS": "a Photoshop drawing",
    b"\x1a\x45\xdf\xa3": "a video",
}
# The brand in the first box of an ISO media file (ISO/IEC 14496-12): HEIC and AVIF photos, else videos.
_BRANDS = {b"hei": "HEIC", b"hev": "HEIC", b"mif": "HEIC", b"msf": "HEIC", b"avi": "AVIF"}


def kind_of(start: bytes) -> str:
    """What a file's first bytes promise: a photo's format ("JPEG"), another thing ("a video"), or "" if unknown."""
    if start[4:8] == b"ftyp":
        return _BRANDS.get(start[8:11], "a raw photo" if start[8:11] == b"crx" else "a video")
    if start[:4] == b"RIFF":
        return {b"WEBP": "WebP", b"AVI ": "a video"}.get(start[8:12], "")
    return next((kind for sign, kind in (_PHOTOS | _OTHERS).items() if start.startswith(sign)), "")


def why_no_picture(data: bytes) -> str:
    """Why a file that no decoder knows cannot be used."""
    kind, start = kind_of(data), data[:512].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if kind and not kind.startswith("a "):
        return f"damaged: it begins like a {kind} and cannot be read on"
    if start.startswith((b"<!doctype html", b"<html")):
        kind = "a web page"
    elif b"<svg" in start:
        kind = "an SVG drawing"
    elif not kind and not data.strip(b"\x00"):
        kind = "nothing but zero bytes"
    elif not kind:
        kind = "text" if b"\x00" not in data[:512] and data[:512].isascii() else "unknown content"
    return f"not a picture ({kind})"
