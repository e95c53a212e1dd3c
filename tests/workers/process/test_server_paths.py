from pathlib import Path

import pytest

from workers.process.server_paths import ServerPaths


@pytest.mark.parametrize(
    ("sentence", "shown"),
    [
        (
            "The adapter 'x' (/srv/my loras/x.safetensors) cannot be used.",
            "The adapter 'x' (x.safetensors) cannot be used.",
        ),
        ("Could not open the file: /models/sd/unet/openvino_model.xml", "Could not open the file: openvino_model.xml"),
        ('Unable to read "/models/my sd/unet.bin": too short', 'Unable to read "unet.bin": too short'),
        ("file:///models/a.bin is short; see /etc/x, /etc/y.", "a.bin is short; see x, y."),
        ("Check failed at src/inference/src/cpp/core.cpp:117: wrong", "Check failed at core.cpp:117: wrong"),
        ("path=/models/a.xml", "path=a.xml"),
        ("/models is not a folder", "models is not a folder"),
        ("No such file:/srv/models/a.xml", "No such file:a.xml"),
        ("cannot open /srv/a,b/unet,1.bin, which is missing", "cannot open unet,1.bin, which is missing"),
        ("cannot open /srv/my models/unet.bin: too short", "cannot open unet.bin: too short"),
        ("cannot read /srv/a.xml: it ends early; see /etc/b; stop", "cannot read a.xml: it ends early; see b; stop"),
    ],
)
def test_a_path_is_shown_as_its_last_name(sentence: str, shown: str) -> None:
    assert ServerPaths().left_out_of(sentence) == shown


@pytest.mark.parametrize(
    "sentence",
    [
        "the download from https://example.com/a/b.safetensors broke off",
        "see https://example.com:8080/a/b,c or http://example.com/d for more",
        "1/2 of the layers; image/png; and/or; 3 / 4",
        "Dimension 0 must be the same for tensor_1 (1) and tensor_2 (2)",
    ],
)
def test_other_sentences_stay(sentence: str) -> None:
    assert ServerPaths().left_out_of(sentence) == sentence


def test_a_known_path_may_contain_blanks() -> None:
    paths = ServerPaths([Path("/srv/my models/sd"), Path("/srv/my models"), None])
    assert paths.left_out_of("The model in /srv/my models/sd cannot be loaded") == "The model in sd cannot be loaded"
