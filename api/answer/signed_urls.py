"""Signed URLs: each serves one artifact of one submission until it expires, without an API key."""

import math
from dataclasses import dataclass

from itsdangerous import BadSignature, SignatureExpired, URLSafeTimedSerializer

from api.service import ImageService
from graphs.errors import ArtifactExpired, JobNotFound
from workers.jobs.job import Job

# A token holds its time in whole seconds.
_CLOCK_S = 1.0


@dataclass(frozen=True)
class SignedAddress:
    """What a token names: an artifact of a job, as the job was when the token was made.

    ``owner`` and ``sequence`` (the number of the submission) are None in tokens of releases up to 0.1.0; ``signed_at``
    is unix seconds.
    """

    job_id: str
    index: int
    owner: str | None
    sequence: int | None
    signed_at: float

    def is_of(self, job: Job) -> bool:
        """Return whether this is the submission that the address was made for, and no later one with the same id."""
        if self.owner is None or self.sequence is None:
            return job.created_at <= self.signed_at + _CLOCK_S
        return (self.owner, self.sequence) == (job.options.owner, job.sequence)


class UrlSigner:
    """Makes and checks the tokens in the URLs of artifacts."""

    def __init__(self, key: str, ttl_s: int) -> None:
        """``ttl_s``: for how many seconds a token is valid."""
        # Another salt would make the URLs invalid that clients already have.
        self._serializer = URLSafeTimedSerializer(key, salt="picture")
        self._ttl_s = ttl_s

    def expires_at(self, job: Job, now: float) -> int:
        """Return when the address of a completed job's artifact that is signed now ends, in unix seconds."""
        return int(min(now + self._ttl_s, job.expires_at or math.inf))

    def token(self, job: Job, index: int) -> str:
        """Return a token for a job's artifact."""
        token = self._serializer.dumps([job.id, index, job.options.owner, job.sequence])
        return token if isinstance(token, str) else token.decode()

    def read(self, token: str) -> SignedAddress:
        """Return what a token names. Raises ArtifactExpired, or JobNotFound for a token with another signature."""
        try:
            content, signed_at = self._serializer.loads(token, max_age=self._ttl_s, return_timestamp=True)
            job_id, index, *more = content
            owner, sequence = (str(more[0]), int(more[1])) if more else (None, None)
            return SignedAddress(str(job_id), int(index), owner, sequence, signed_at.timestamp())
        except SignatureExpired as error:
            raise ArtifactExpired(f"This address was good for {self._ttl_s} s and has expired.") from error
        except (BadSignature, ValueError, TypeError, IndexError) as error:
            raise JobNotFound("There is no image at this address.") from error


async def url_signer(service: ImageService) -> UrlSigner:
    """Return the signer with the key of now, which may have been rotated. Raises ServiceUnavailable."""
    return UrlSigner(await service.signing_key(), service.url_ttl_s)


async def signer_of_bodies(service: ImageService) -> UrlSigner:
    """Return the signer with the key as it was when the job of a body was read. Raises ServiceUnavailable."""
    return UrlSigner(await service.last_signing_key(), service.url_ttl_s)
