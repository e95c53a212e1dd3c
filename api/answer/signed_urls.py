"""URLs of our own that serve one picture until they expire, without a key."""

from itsdangerous import BadSignature, SignatureExpired, URLSafeTimedSerializer

from graphs.errors import ArtifactExpired, JobNotFound


class UrlSigner:
    """Signs and checks the tokens in picture URLs."""

    def __init__(self, key: str, ttl_s: int) -> None:
        self._serializer = URLSafeTimedSerializer(key, salt="picture")
        self._ttl_s = ttl_s

    def token(self, job_id: str, index: int) -> str:
        """Return a token for a job's picture."""
        token = self._serializer.dumps([job_id, index])
        return token if isinstance(token, str) else token.decode()

    def read(self, token: str) -> tuple[str, int]:
        """Return job id and index. Raises ArtifactExpired, or JobNotFound for a token we did not make."""
        try:
            job_id, index = self._serializer.loads(token, max_age=self._ttl_s)
            return str(job_id), int(index)
        except SignatureExpired as error:
            raise ArtifactExpired(f"This address was good for {self._ttl_s} s and has expired.") from error
        except (BadSignature, ValueError, TypeError) as error:
            raise JobNotFound("There is no picture at this address.") from error
