import pytest
from itsdangerous import URLSafeTimedSerializer

from api.answer.signed_urls import SignedAddress, UrlSigner
from graphs.errors import ArtifactExpired, JobNotFound
from tests.workers.jobs.jobs_support import a_request
from workers.jobs.job import Job
from workers.jobs.job_options import JobOptions
from workers.jobs.status import Status


def a_job(job_id: str = "imgjob_0123", owner: str = "one", sequence: int = 7, created_at: float = 0.0) -> Job:
    options = JobOptions(owner=owner)
    return Job(job_id, a_request(), options, Status.COMPLETED, created_at=created_at, sequence=sequence)


SIGNER = UrlSigner("key", 60)


@pytest.mark.parametrize(("job_id", "index"), [("imgjob_0123", 0), ("imgjob_0123", 9), ("ж/.", 1)])
def test_a_token_names_its_artifact(job_id: str, index: int) -> None:
    read = SIGNER.read(SIGNER.token(a_job(job_id), index))
    assert (read.job_id, read.index, read.owner, read.sequence) == (job_id, index, "one", 7)


def test_an_address_is_of_one_owner_and_submission() -> None:
    address = SIGNER.read(SIGNER.token(a_job(), 0))
    assert address.is_of(a_job())
    assert not address.is_of(a_job(owner="two"))
    assert not address.is_of(a_job(sequence=8))


def test_an_address_of_an_older_release_is_of_no_later_job() -> None:
    """Those tokens name a job and an index only."""
    address = SIGNER.read(str(URLSafeTimedSerializer("key", salt="picture").dumps(["imgjob_0123", 1])))
    assert address == SignedAddress("imgjob_0123", 1, None, None, address.signed_at)
    assert address.is_of(a_job(created_at=address.signed_at - 60))
    assert not address.is_of(a_job(created_at=address.signed_at + 2))


def test_a_token_fits_into_a_path() -> None:
    token = SIGNER.token(a_job(), 0)
    assert token.isascii()
    assert not set(token) & set("/?#% ")


def test_each_artifact_has_its_own_token() -> None:
    assert len({SIGNER.token(a_job(job), index) for job in ("a", "b") for index in range(3)}) == 6


@pytest.mark.parametrize("token", ["", ".", "..", "a.b.c", "x" * 5000, "ж", "\x00", "W10.aaaa.bbbb"])
def test_a_token_without_a_signature_is_not_found(token: str) -> None:
    with pytest.raises(JobNotFound, match="no image at this address"):
        SIGNER.read(token)


def test_no_part_of_a_token_can_be_changed() -> None:
    token = SIGNER.token(a_job(), 0)
    for place in range(len(token) - 1):  # the last character holds unused bits
        forged = token[:place] + ("A" if token[place] != "A" else "B") + token[place + 1 :]
        with pytest.raises(JobNotFound):
            SIGNER.read(forged)


@pytest.mark.parametrize(
    "stranger",
    [UrlSigner("other", 60).token(a_job(), 0), URLSafeTimedSerializer("key").dumps(["imgjob_0123", 0])],
    ids=["other key", "other purpose"],  # the tokens hold the time: every test process must name the cases alike
)
def test_another_key_or_purpose_does_not_count(stranger: str) -> None:
    with pytest.raises(JobNotFound):
        SIGNER.read(stranger)


@pytest.mark.parametrize("content", [[], ["a"], ["a", "b"], ["a", None], {}, None, 5, ["a", 1, 2], ["a", 1, "b", "c"]])
def test_content_of_another_form_is_not_found(content: object) -> None:
    with pytest.raises(JobNotFound):
        SIGNER.read(str(URLSafeTimedSerializer("key", salt="picture").dumps(content)))


def test_a_token_expires() -> None:
    token = SIGNER.token(a_job(), 0)
    with pytest.raises(ArtifactExpired, match="good for -1 s and has expired"):
        UrlSigner("key", -1).read(token)
