"""TLS as a client speaks it: whom to trust, and sessions that are taken up again."""

import functools
import ssl


def trusting(ca_file: str | None) -> ssl.SSLContext:
    """Return a context that trusts the system's certificates, and those of a PEM file.

    Raises:
        OSError: The file cannot be read, or has no certificate.
    """
    context = ssl.create_default_context()
    # Not one that was put in its place, as truststore does: it may check certificates by itself.
    if type(context).__module__ == ssl.__name__:
        context.__class__ = _Resuming  # no other way has all that the function decides
    if ca_file is not None:
        context.load_verify_locations(cafile=ca_file)
    context.set_alpn_protocols(["http/1.1"])
    return context


@functools.cache
def default_context() -> ssl.SSLContext:
    """Reading the system's certificates takes some 20 ms and a megabyte, so that it is done once."""
    return trusting(None)


class _Resuming(ssl.SSLContext):
    """A context whose handshakes take up the session of the last one with the same host.

    That spares certificates and signatures, and with TLS 1.2 a round trip (RFC 8446, section 2.2;
    RFC 5246, section 7.3). A server that has forgotten a session begins a new one.
    """

    @functools.cached_property
    def _last(self) -> dict[str | bytes | None, ssl.SSLObject]:
        """The last connection to each host name."""
        return {}

    def wrap_bio(
        self,
        incoming: ssl.MemoryBIO,
        outgoing: ssl.MemoryBIO,
        server_side: bool = False,
        server_hostname: str | bytes | None = None,
        session: ssl.SSLSession | None = None,
    ) -> ssl.SSLObject:
        """Begin a connection; event loops call this. See `ssl.SSLContext.wrap_bio`."""
        last = self._last.get(server_hostname)
        if last is not None and last.version():  # its handshake came to an end
            session = last.session
        new = super().wrap_bio(incoming, outgoing, server_side, server_hostname, session)
        self._last[server_hostname] = new
        return new
