"""Bodies that are small to send and long to read: JSON of millions of parts, and forms of any shape."""

MIB = 2**20
FORM_BOUNDARY = "b"


def hostile_json(size_bytes: int) -> dict[str, bytes]:
    """Return hostile JSON bodies of about this size, by name."""
    bodies = {
        "fields": "{" + _filled('"{}":0', size_bytes) + "}",
        "one field again and again": "{" + _filled('"prompt":{}', size_bytes) + "}",
        "strengths": '{"prompt":"a","lora_alphas":{' + _filled('"{}":"x"', size_bytes) + "}}",
        "metadata": '{"prompt":"a","metadata":{' + _filled('"{}":1', size_bytes) + "}}",
        "webhook events": '{"prompt":"a","webhook":{"url":"https://a","events":[' + _filled("{}", size_bytes) + "]}}",
        "lists of lists": '{"prompt":"a","webhook":{"url":"https://a","events":['
        + _filled("[[],[]]", size_bytes)
        + "]}}",
        "fields of an image": '{"prompt":"a","images":[{' + _filled('"x{}":1', size_bytes) + "}]}",
        "images": '{"prompt":"a","images":[' + _filled('{{"image_url":{}}}', size_bytes) + "]}",
        "keys of images": '{"images":[{' + _filled('"image_url":"data:"', size_bytes) + "}]}",
        "lists in lists": "[" * size_bytes,
        "objects in objects": '{"a":' * (size_bytes // 5),
        "a number": '{"prompt":"a","seed":' + "1" * size_bytes + "}",
        "a fraction": '{"prompt":"a","guidance_scale":1e' + "1" * size_bytes + "}",
        "a name": '{"' + "a" * size_bytes + '":1}',
        "escapes": '{"prompt":"' + "\\u0041" * (size_bytes // 6) + '"}',
        "quotes": '{"prompt":"' + '\\"' * (size_bytes // 2) + '"}',
        "not JSON": '"image_url":' * (size_bytes // 12),
    }
    return {name: body.encode() for name, body in bodies.items()}


def hostile_forms() -> dict[str, bytes]:
    """Return hostile bodies of forms whose boundary is FORM_BOUNDARY, by name."""
    return {
        "a part's header": _part(b"a" * (7 * MIB), b"name=prompt"),
        "headers of a part": b"--b\r\n" + b"a: b\r\n" * MIB,
        "a part's name": _part(b"", b"name=" + b'\\"' * MIB),
        "parameters": _part(b"", b"name=x;" + b"a=b;" * MIB),
        "boundaries": b"--b\r\n" * MIB,
        "no boundary": b"-" * (7 * MIB),
        "parts": b"".join(_part(b"", b"name=x%d" % n) for n in range(50_000)),
        "an object": _objects(b'"%d":1'),
    }


def _part(name: bytes, disposition: bytes) -> bytes:
    return b"--b\r\nContent-Disposition: form-data; " + disposition + b"\r\n" + name + b"\r\n\r\na\r\n"


def _objects(item: bytes) -> bytes:
    inside = b",".join(item % number for number in range(25_000))
    return b"".join(
        b'--b\r\nContent-Disposition: form-data; name="%s"\r\n\r\n{%s}\r\n' % (name, inside)
        for name in (b"adapters", b"lora_alphas", b"metadata", b"webhook")
    )


def _filled(item: str, size_bytes: int) -> str:
    """Return so many bytes of items with commas between them; ``{}`` in the item becomes its number."""
    items: list[str] = []
    length = 0
    while length < size_bytes:
        items.append(item.format(len(items)))
        length += len(items[-1]) + 1
    return ",".join(items)
