"""Signed URLs: each serves one artifact until it expires, without an API key."""

from itsdangerous import BadSignature, SignatureExpired, URLSafeTimedSerializer

from graphs.errors import ArtifactExpired, JobNotFound


class UrlSigner:
    """Makes and checks the tokens in the URLs of artifacts."""

    def __init__(self, key: str, ttl_s: int) -> None:
        """``ttl_s``: for how many seconds a token is valid."""
        # Another salt would make the URLs invalid that clients already have.
        self._serializer = URLSafeTimedSerializer(key, salt="picture")
        self._ttl_s = ttl_s

    def token(self, job_id: str, index: int) -> str:
        """Return a token for a job's artifact."""
        token = self._serializer.dumps([job_id, index])
        return token if isinstance(token, str) else token.decode()

    def read(self, token: str) -> tuple[str, int]:
        """Return job id and index. Raises ArtifactExpired, or JobNotFound for a token with another signature."""
        try:
            job_id, index = self._serializer.loads(token, max_age=self._ttl_s)
            return str(job_id), int(index)
        except SignatureExpired as error:
            raise ArtifactExpired(f"This address was good for {self._ttl_s} s and has expired.") from error
        except (BadSignature, ValueError, TypeError) as error:
            raise JobNotFound("There is no image at this address.") from error
