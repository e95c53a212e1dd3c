"""Which addresses a download may connect to: not this machine's own network, unless that is allowed."""

from graphs.errors import ConfigurationError
from workers.net.public_address import PrivateAddress, public_addresses


def allowed_addresses(host: str, port: int, *, allow_private: bool) -> list[str]:
    """Resolve a name and return its addresses, all of which may be connected to.

    The caller must connect to one of these and not resolve again: a second answer could differ from the checked one.
    Raises ConfigurationError where there is none, or where any is private and that is not allowed.
    """
    try:
        return public_addresses(host, port, allow_private=allow_private)
    except OSError:
        reason = "cannot be found; check the name, and that this machine reaches the network"
        raise ConfigurationError(f"the server {host} {reason}.") from None
    except PrivateAddress as error:
        reason = (
            f"is at {error.address}, which is a private address; set IMAGEGEN_DOWNLOADS__ALLOW_PRIVATE=true if "
            "adapters are to be downloaded from there"
        )
        raise ConfigurationError(f"the server {host} {reason}.") from None
