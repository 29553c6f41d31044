//! The address of a listener, and the permissions of a Unix socket's file.

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;

use super::network::{self, Address};
use super::pattern;
use super::text::{Malformed, text_type};
use super::unix_socket::{self, SocketAddress, UnixSocket};

/// An IP address and a port, or a Unix socket.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum ListenerAddress {
    Inet(Address),
    Unix(UnixSocket),
}

text_type!(ListenerAddress, format: "listener-address", pattern: {
    pattern::whole(&pattern::any([network::address_pattern(), unix_socket::pattern()]))
});

impl From<&ListenerAddress> for SocketAddress {
    fn from(address: &ListenerAddress) -> Self {
        match address {
            ListenerAddress::Inet(address) => Self::Inet(SocketAddr::from(*address)),
            ListenerAddress::Unix(socket) => Self::Unix(socket.clone()),
        }
    }
}

impl fmt::Display for ListenerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Inet(address) => address.fmt(f),
            Self::Unix(socket) => socket.fmt(f),
        }
    }
}

impl FromStr for ListenerAddress {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        match UnixSocket::is_meant(text) {
            true => text.parse().map(Self::Unix),
            false => text.parse().map(Self::Inet),
        }
    }
}

/// The permissions of a file, octal: `0660`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct FileMode(u32);

text_type!(FileMode, format: "file-mode", pattern: pattern::whole("0?[0-7]{3}"));

impl FileMode {
    /// The owner and the group may connect.
    pub(crate) const OWNER_AND_GROUP: Self = Self(0o660);

    /// Returns the bits of read, write and execute.
    pub(crate) fn bits(self) -> u32 {
        self.0
    }
}

impl fmt::Display for FileMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04o}", self.0)
    }
}

impl FromStr for FileMode {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        let is_octal = text.bytes().all(|byte| matches!(byte, b'0'..=b'7'));
        match u32::from_str_radix(text, 8) {
            Ok(bits) if is_octal && (text.len() == 3 || (text.len() == 4 && bits <= 0o777)) => Ok(Self(bits)),
            _ => Err(Malformed::new(format!("`{text}` is not the mode of a file"))
                .help("write three octal digits, for owner, group and others, in quotes: `\"0660\"`")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listener_address_is_an_ip_address_with_a_port_or_a_unix_socket() {
        for text in ["127.0.0.1:8080", "[::]:8443", "unix:/run/gateway.sock", "unix:@gateway"] {
            assert_eq!(text.parse::<ListenerAddress>().unwrap().to_string(), text);
        }
        for (text, help) in [
            ("8080", "write the address too"),
            ("unix:gateway.sock", "an absolute path"),
            ("", "an address and a port"),
        ] {
            let malformed = text.parse::<ListenerAddress>().unwrap_err();
            assert!(malformed.help.unwrap().contains(help), "{text}");
        }
    }

    #[test]
    fn file_mode_is_octal_and_has_no_special_bits() {
        for (text, bits, shown) in [("0660", 0o660, "0660"), ("600", 0o600, "0600"), ("0000", 0, "0000")] {
            let mode: FileMode = text.parse().unwrap();
            assert_eq!((mode.bits(), mode.to_string().as_str()), (bits, shown));
        }
        for text in ["", "66", "1660", "0o660", "0680", "00660", "+660", "rw-rw----"] {
            assert!(text.parse::<FileMode>().unwrap_err().help.unwrap().contains("octal"), "{text}");
        }
    }
}
