//! Which of the ranks of a host that fail at once says so.

use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::time::Duration;

/// How long a rank that is not the first waits to be ended with the job.
const OTHERS_WAIT: Duration = Duration::from_secs(2);

/// What the first rank of a job that fails on a host holds until it ends.
pub struct First(#[allow(dead_code)] Option<UnixListener>);

/// Comes back at once on the first rank of this host to come here. Another one waits, since the
/// first says what went wrong and ends the job; it comes back where that did not happen.
///
/// The ranks of a job on a host have one parent, so an abstract socket of its number is a name that
/// one of them can hold, and that is gone with it.
pub fn be_first() -> First {
    let name = format!("rankio-failed-{}", std::os::unix::process::parent_id());
    let held = SocketAddr::from_abstract_name(name).and_then(|name| UnixListener::bind_addr(&name));
    if held.as_ref().is_err_and(|error| error.kind() == std::io::ErrorKind::AddrInUse) {
        std::thread::sleep(OTHERS_WAIT);
    }
    First(held.ok())
}
