//! Tells the service manager when the service is ready and when it stops, as systemd's `Type=notify` expects
//! (<https://www.freedesktop.org/software/systemd/man/latest/sd_notify.html>).
//!
//! Rejected: the crate sd-notify, for one datagram.

use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// What the service manager is told.
#[derive(Debug, Clone, Copy)]
pub enum State {
    /// The service serves requests.
    Ready,
    /// The service stops.
    Stopping,
}

impl State {
    fn message(self) -> &'static [u8] {
        match self {
            Self::Ready => b"READY=1",
            Self::Stopping => b"STOPPING=1",
        }
    }
}

/// Sends the state to the socket in `NOTIFY_SOCKET`, if there is one.
pub fn notify(state: State) {
    let Some(socket) = std::env::var_os("NOTIFY_SOCKET").filter(|socket| !socket.is_empty()) else {
        return;
    };
    if let Err(error) = send(socket.as_bytes(), state) {
        tracing::warn!(%error, "cannot notify the service manager");
    }
}

/// A name that starts with `@` is in the abstract namespace.
fn send(socket: &[u8], state: State) -> io::Result<()> {
    let address = match socket.strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(std::ffi::OsStr::from_bytes(socket))?,
    };
    UnixDatagram::unbound()?.send_to_addr(state.message(), &address)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn receive(socket: &UnixDatagram) -> Vec<u8> {
        let mut message = [0; 64];
        let length = socket.recv(&mut message).unwrap();
        message[..length].to_vec()
    }

    #[test]
    fn both_kinds_of_sockets_get_the_state() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let manager = UnixDatagram::bind(&path).unwrap();
        send(path.as_os_str().as_bytes(), State::Ready).unwrap();
        assert_eq!(receive(&manager), b"READY=1");

        let name = format!("slipway-{}", ulid::Ulid::generate());
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let manager = UnixDatagram::bind_addr(&address).unwrap();
        send(format!("@{name}").as_bytes(), State::Stopping).unwrap();
        assert_eq!(receive(&manager), b"STOPPING=1");

        assert!(send(b"/nowhere/notify", State::Ready).is_err());
    }
}
