//! A non-blocking connection to a server, plain or with TLS.

use super::address::Endpoint;
use nix::errno::Errno;
use nix::sys::socket::{self, AddressFamily, SockFlag, SockType, SockaddrStorage};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use std::io::{self, IoSlice, Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::sync::Arc;

/// The connection.
#[derive(Debug)]
pub(super) enum Stream {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

impl Stream {
    /// Begins to connect to one of the addresses of `endpoint`, by `turn`.
    pub fn open(
        endpoint: &Endpoint,
        tls: Option<&Arc<ClientConfig>>,
        turn: usize,
    ) -> io::Result<Stream> {
        let addresses: Vec<SocketAddr> =
            (endpoint.host.as_str(), endpoint.port).to_socket_addrs()?.collect();
        let none = || io::Error::new(io::ErrorKind::NotFound, "the host has no address");
        let address = addresses.get(turn % addresses.len().max(1)).ok_or_else(none)?;
        let tcp = begin_connect(address)?;
        let Some(config) = tls.filter(|_| endpoint.tls) else { return Ok(Stream::Plain(tcp)) };
        let name = ServerName::try_from(endpoint.host.clone()).map_err(io::Error::other)?;
        let session = ClientConnection::new(config.clone(), name).map_err(io::Error::other)?;
        Ok(Stream::Tls(Box::new(StreamOwned::new(session, tcp))))
    }

    fn tcp(&self) -> &TcpStream {
        match self {
            Stream::Plain(tcp) => tcp,
            Stream::Tls(stream) => &stream.sock,
        }
    }

    /// For epoll.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.tcp().as_fd()
    }

    /// True once connected; an error if that failed.
    pub fn is_connected(&self) -> io::Result<bool> {
        if let Some(error) = self.tcp().take_error()? {
            return Err(error);
        }
        match self.tcp().peer_addr() {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotConnected => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Reads; WouldBlock while nothing is there.
    pub fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        match self {
            Stream::Plain(tcp) => tcp.read(room),
            Stream::Tls(stream) => stream.read(room),
        }
    }

    /// Writes what fits of two pieces.
    pub fn write(&mut self, first: &[u8], second: &[u8]) -> io::Result<usize> {
        match self {
            Stream::Plain(tcp) => tcp.write_vectored(&[IoSlice::new(first), IoSlice::new(second)]),
            Stream::Tls(stream) if first.is_empty() => stream.write(second),
            Stream::Tls(stream) => stream.write(first),
        }
    }
}

/// What to add to an error of TLS whose reason is likely to be the URL.
pub(super) fn hint(said: &str) -> &'static str {
    // How rustls tells of an answer that is no TLS.
    match said.contains("InvalidContentType") {
        true => "; the server does not speak TLS there: is its URL http:// and not https://?",
        false => "",
    }
}

fn begin_connect(address: &SocketAddr) -> io::Result<TcpStream> {
    let family = if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    let socket = socket::socket(family, SockType::Stream, flags, None)?;
    match socket::connect(socket.as_raw_fd(), &SockaddrStorage::from(*address)) {
        Ok(()) | Err(Errno::EINPROGRESS) => {}
        Err(error) => return Err(error.into()),
    }
    let tcp = TcpStream::from(socket);
    tcp.set_nodelay(true)?;
    Ok(tcp)
}

/// What TLS connections trust: AWS_CA_BUNDLE if it is set, else the system's certificates.
///
/// # Errors
/// One line: no certificates, or a bundle that cannot be read.
pub(super) fn tls_config() -> Result<Arc<ClientConfig>, String> {
    let mut roots = RootCertStore::empty();
    if let Some(bundle) = std::env::var_os("AWS_CA_BUNDLE").filter(|path| !path.is_empty()) {
        let said = |what: String| format!("AWS_CA_BUNDLE {}: {what}", bundle.to_string_lossy());
        let found = CertificateDer::pem_file_iter(&bundle).map_err(|e| said(e.to_string()))?;
        for certificate in found {
            let certificate = certificate.map_err(|e| said(e.to_string()))?;
            roots.add(certificate).map_err(|e| said(e.to_string()))?;
        }
    } else {
        // One that is broken is no reason to do without the others.
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    }
    if roots.is_empty() {
        return Err("no certificates to trust for https://: install the system's CA \
                    certificates, or export AWS_CA_BUNDLE"
            .into());
    }
    config_with(roots)
}

/// A configuration that trusts nobody, for libraries that want one where there is no TLS.
///
/// # Errors
/// The library refuses its own versions.
#[cfg(feature = "foreign")]
pub(super) fn no_tls_config() -> Result<Arc<ClientConfig>, String> {
    config_with(RootCertStore::empty())
}

fn config_with(roots: RootCertStore) -> Result<Arc<ClientConfig>, String> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}
