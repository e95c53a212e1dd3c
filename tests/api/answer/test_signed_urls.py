import pytest
from itsdangerous import URLSafeTimedSerializer

from api.answer.signed_urls import UrlSigner
from graphs.errors import ArtifactExpired, JobNotFound

SIGNER = UrlSigner("key", 60)


@pytest.mark.parametrize(("job_id", "index"), [("imgjob_0123", 0), ("imgjob_0123", 9), ("ж/.", 1)])
def test_a_token_names_its_artifact(job_id: str, index: int) -> None:
    assert SIGNER.read(SIGNER.token(job_id, index)) == (job_id, index)


def test_a_token_fits_into_a_path() -> None:
    token = SIGNER.token("imgjob_0123", 0)
    assert token.isascii()
    assert not set(token) & set("/?#% ")


def test_each_artifact_has_its_own_token() -> None:
    assert len({SIGNER.token(job, index) for job in ("a", "b") for index in range(3)}) == 6


@pytest.mark.parametrize("token", ["", ".", "..", "a.b.c", "x" * 5000, "ж", "\x00", "W10.aaaa.bbbb"])
def test_a_token_without_a_signature_is_not_found(token: str) -> None:
    with pytest.raises(JobNotFound, match="no image at this address"):
        SIGNER.read(token)


def test_no_part_of_a_token_can_be_changed() -> None:
    token = SIGNER.token("imgjob_0123", 0)
    for place in range(len(token) - 1):  # the last character holds unused bits
        forged = token[:place] + ("A" if token[place] != "A" else "B") + token[place + 1 :]
        with pytest.raises(JobNotFound):
            SIGNER.read(forged)


@pytest.mark.parametrize(
    "stranger",
    [UrlSigner("other", 60).token("imgjob_0123", 0), URLSafeTimedSerializer("key").dumps(["imgjob_0123", 0])],
    ids=["other key", "other purpose"],  # the tokens hold the time: every test process must name the cases alike
)
def test_another_key_or_purpose_does_not_count(stranger: str) -> None:
    with pytest.raises(JobNotFound):
        SIGNER.read(stranger)


@pytest.mark.parametrize("content", [[], ["a"], ["a", "b"], ["a", None], {}, None, 5, ["a", 1, 2]])
def test_content_of_another_form_is_not_found(content: object) -> None:
    with pytest.raises(JobNotFound):
        SIGNER.read(str(URLSafeTimedSerializer("key", salt="picture").dumps(content)))


def test_a_token_expires() -> None:
    token = SIGNER.token("imgjob_0123", 0)
    with pytest.raises(ArtifactExpired, match="good for -1 s and has expired"):
        UrlSigner("key", -1).read(token)
