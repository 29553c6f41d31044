//! Unix domain sockets, as the file writes them, and the addresses of sockets of either kind.

use std::ffi::OsStr;
use std::fmt;
use std::net::SocketAddr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use super::text::Malformed;

/// The most bytes of a path: Linux has 108 for it, with a zero byte at its end (unix(7)).
const PATH_BYTES_MAX: usize = 107;

/// A Unix domain socket: `unix:/run/app.sock`, or `unix:@app` for a name without a file (Linux's abstract sockets).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct UnixSocket(Arc<str>);

/// Returns a pattern for what [`UnixSocket`] parses.
pub(crate) fn pattern() -> String {
    // Printable ASCII without the colon; a path neither begins with two slashes nor ends with one.
    let (any, no_slash) = ("[!-9;-~]", "[!-.0-9;-~]");
    let middle = PATH_BYTES_MAX - 3;
    format!("unix:(?:/{no_slash}(?:{any}{{0,{middle}}}{no_slash})?|@{any}{{1,{PATH_BYTES_MAX}}})")
}

impl UnixSocket {
    /// Returns true if a text is a Unix socket, or was meant to be one.
    pub(crate) fn is_meant(text: &str) -> bool {
        // A host may have the name `unix`, but then a port is behind its colon.
        const STARTS: [&str; 6] =
            ["unix:", "unix/", "http+unix:", "https+unix:", "http://unix:/", "https://unix:/"];
        let text = text.to_ascii_lowercase();
        STARTS.iter().any(|start| text.starts_with(start))
    }

    /// Returns the file of the socket; `None` for an abstract one.
    pub(crate) fn file(&self) -> Option<&Path> {
        self.0.starts_with('/').then(|| Path::new(&*self.0))
    }

    /// Returns the name of an abstract socket.
    pub(crate) fn abstract_name(&self) -> Option<&str> {
        self.0.strip_prefix('@')
    }

    /// Returns the path for a system call. That of an abstract socket begins with a zero byte.
    pub(crate) fn path(&self) -> PathBuf {
        match (self.file(), self.abstract_name()) {
            (None, Some(name)) => OsStr::from_bytes(&[b"\0", name.as_bytes()].concat()).into(),
            (file, _) => file.unwrap_or(Path::new("")).to_owned(),
        }
    }
}

impl fmt::Display for UnixSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "unix:{}", self.0)
    }
}

impl FromStr for UnixSocket {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        let malformed =
            |problem: &str, help: &str| Err(Malformed::new(format!("`{text}` {problem}")).help(help));
        let form = "write an absolute path: `unix:/run/app.sock`";
        let Some(name) = text.strip_prefix("unix:") else {
            let path = text.rsplit_once("unix").map_or("", |(_, rest)| rest.trim_start_matches([':', '/']));
            let path = path.split(':').next().unwrap_or(path);
            let written = format!("unix:/{path}");
            let help =
                if written.parse::<Self>().is_ok() { format!("write `{written}`") } else { form.to_owned() };
            return malformed("is not a Unix socket", &help);
        };
        let (path, behind) = name.split_once(':').unwrap_or((name, ""));
        if path.len() < name.len() && format!("unix:{path}").parse::<Self>().is_ok() {
            let help =
                format!("a Unix socket has no base path: write `unix:{path}`, and `rewrite` in the route");
            let help = if behind.is_empty() { format!("write `unix:{path}`") } else { help };
            return malformed("has a colon behind its path", &help);
        }
        if let Some(name) = name.strip_prefix('@') {
            return match name.len() {
                0 => malformed("has no name", "write a name behind the `@`: `unix:@app`"),
                _ if !name.bytes().all(is_path_byte) => malformed("has no valid name", CHARACTERS),
                length if length > PATH_BYTES_MAX => {
                    malformed(&too_long("name", length), "choose a shorter name")
                }
                _ => Ok(Self(text_of('@', name))),
            };
        }
        match name {
            "" => malformed("has no path", form),
            _ if name.starts_with("//") => malformed(
                "begins with two slashes",
                &format!("write `unix:/{}`", name.trim_start_matches('/')),
            ),
            _ if !name.starts_with('/') => malformed("has a relative path", form),
            _ if name.ends_with('/') => malformed("is a folder", "write the path of the socket in it"),
            _ if !name.bytes().all(is_path_byte) => malformed("has no valid path", CHARACTERS),
            _ if name.len() > PATH_BYTES_MAX => {
                malformed(&too_long("path", name.len()), "choose a shorter path")
            }
            _ => Ok(Self(name.into())),
        }
    }
}

const CHARACTERS: &str = "write it in printable ASCII, without blanks and colons";

fn is_path_byte(byte: u8) -> bool {
    byte.is_ascii_graphic() && byte != b':'
}

fn too_long(noun: &str, length: usize) -> String {
    format!("has a {noun} of {length} bytes, and a Unix socket's has {PATH_BYTES_MAX} at most")
}

fn text_of(first: char, rest: &str) -> Arc<str> {
    format!("{first}{rest}").into()
}

/// The address of a socket that listens: that of an endpoint, or of a listener.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum SocketAddress {
    /// TCP.
    Inet(SocketAddr),
    /// A Unix domain socket.
    Unix(UnixSocket),
}

impl SocketAddress {
    /// Returns IP address and port; `None` for a Unix socket.
    pub(crate) fn inet(&self) -> Option<SocketAddr> {
        match self {
            Self::Inet(address) => Some(*address),
            Self::Unix(_) => None,
        }
    }
}

impl From<SocketAddr> for SocketAddress {
    fn from(address: SocketAddr) -> Self {
        Self::Inet(address)
    }
}

impl fmt::Display for SocketAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Inet(address) => address.fmt(f),
            Self::Unix(socket) => socket.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unix_socket_is_an_absolute_path_or_an_abstract_name() {
        let longest = format!("unix:/{}", "a".repeat(106));
        for (text, file, path) in [
            ("unix:/run/app.sock", Some("/run/app.sock"), "/run/app.sock"),
            ("unix:/a", Some("/a"), "/a"),
            ("unix:/a//b", Some("/a//b"), "/a//b"),
            ("unix:@app", None, "\0app"),
            (&longest, Some(&longest[5..]), &longest[5..]),
        ] {
            let socket: UnixSocket = text.parse().unwrap();
            assert_eq!((socket.to_string().as_str(), socket.file()), (text, file.map(Path::new)));
            assert_eq!(socket.path(), Path::new(path));
        }
    }

    #[test]
    fn unix_socket_that_cannot_be_is_refused_with_the_nearest_one() {
        let (long_path, long_name) =
            (format!("unix:/{}", "a".repeat(107)), format!("unix:@{}", "a".repeat(108)));
        for (text, message, help) in [
            ("unix:", "has no path", "an absolute path"),
            ("unix:app.sock", "a relative path", "`unix:/run/app.sock`"),
            ("unix:///run/a", "two slashes", "write `unix:/run/a`"),
            ("unix:/run/", "is a folder", "the socket in it"),
            ("unix:/run/a:/v2", "has a colon", "no base path: write `unix:/run/a`, and `rewrite`"),
            ("unix:/run/a:", "has a colon", "write `unix:/run/a`"),
            ("unix:/run/a b", "no valid path", "without blanks"),
            ("unix:/run/é", "no valid path", "printable ASCII"),
            ("unix:@", "has no name", "`unix:@app`"),
            ("unix:@a b", "no valid name", "without blanks"),
            ("http://unix:/run/a:/v2", "not a Unix socket", "write `unix:/run/a`"),
            ("http+unix:///run/a", "not a Unix socket", "write `unix:/run/a`"),
            ("unix//run/a", "not a Unix socket", "write `unix:/run/a`"),
            ("UNIX:/run/a", "not a Unix socket", "an absolute path"),
            (&long_path, "a path of 108 bytes, and a Unix socket's has 107 at most", "a shorter path"),
            (&long_name, "a name of 108 bytes, and a Unix socket's has 107 at most", "a shorter name"),
        ] {
            let malformed = text.parse::<UnixSocket>().unwrap_err();
            assert!(malformed.message.contains(message), "{text}: {}", malformed.message);
            assert!(malformed.help.as_ref().unwrap().contains(help), "{text}: {:?}", malformed.help);
            assert!(UnixSocket::is_meant(text), "{text}");
        }
        for text in ["http://a", "http://unix:80", "http://unix/a", "unix.example:80", "127.0.0.1:80", ""] {
            assert!(!UnixSocket::is_meant(text), "{text}");
        }
    }
}
