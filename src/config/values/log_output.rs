//! The destination of a log, as the file writes it.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use super::host::{is_host_name, is_ipv6_literal};
use super::pattern;
use super::text::{Malformed, text_type};

/// The destination of the access log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum LogOutput {
    /// Standard output.
    #[default]
    Stdout,
    /// Standard error.
    Stderr,
    /// A file, to which lines are appended.
    File(PathBuf),
    /// A receiver of syslog.
    Syslog(SyslogReceiver),
}

/// A receiver of syslog messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum SyslogReceiver {
    /// Written as `syslog+udp://HOST:PORT`.
    Udp(SyslogServer),
    /// Written as `syslog+tcp://HOST:PORT`.
    Tcp(SyslogServer),
    /// Written as `syslog+unix://PATH`: a datagram socket, such as `/dev/log`.
    Unix(PathBuf),
}

/// The host and the port of a receiver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SyslogServer {
    /// A name, an IPv4 address, or an IPv6 address without brackets.
    pub(crate) host: String,
    pub(crate) port: u16,
}

/// The port of syslog (RFC 5426 §3.3). Receivers by TCP have the same one by custom.
const PORT: u16 = 514;

/// The beginning of a receiver of syslog. A file of such a name is `./syslog+…`.
const SYSLOG: &str = "syslog+";

const FORMS: &str = "write `syslog+udp://HOST:514`, `syslog+tcp://HOST:514` or `syslog+unix:///dev/log`";

text_type!(LogOutput, format: "log-output", pattern: {
    let host = format!("(?:{}|\\[{}\\])", pattern::host_name(), pattern::ipv6());
    pattern::any([
        "^(?!syslog[+:])[\\s\\S]".to_owned(),
        pattern::whole(&format!("syslog\\+(?:udp|tcp)://{host}(?::{})?", pattern::port())),
        pattern::whole("syslog\\+unix:///[!-~]+"),
    ])
});

impl FromStr for LogOutput {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        match text {
            "stdout" => Ok(Self::Stdout),
            "stderr" => Ok(Self::Stderr),
            "" => Err(Malformed::new("the file has no name").help("write `stdout`, `stderr` or a path")),
            _ if text.starts_with("syslog:") => {
                Err(Malformed::new(format!("`{text}` is no receiver of syslog")).help(FORMS))
            }
            _ => match text.strip_prefix(SYSLOG) {
                Some(receiver) => receiver.parse().map(Self::Syslog),
                None => Ok(Self::File(text.into())),
            },
        }
    }
}

impl FromStr for SyslogReceiver {
    type Err = Malformed;

    /// Parses what follows `syslog+`.
    fn from_str(text: &str) -> Result<Self, Malformed> {
        match text.split_once("://") {
            Some(("udp", server)) => server.parse().map(Self::Udp),
            Some(("tcp", server)) => server.parse().map(Self::Tcp),
            Some(("unix", path)) => {
                let is_path = path.len() > 1
                    && path.starts_with('/')
                    && path.bytes().all(|byte| byte.is_ascii_graphic());
                let refused =
                    || Malformed::new(format!("`{path}` is no absolute path of a socket")).help(FORMS);
                is_path.then(|| Self::Unix(path.into())).ok_or_else(refused)
            }
            _ => Err(Malformed::new(format!("`{SYSLOG}{text}` is no receiver of syslog")).help(FORMS)),
        }
    }
}

impl FromStr for SyslogServer {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        let (host, port) = match text.rsplit_once(':') {
            Some((host, port)) if !port.contains(']') => (host, Some(port)),
            _ => (text, None),
        };
        if !is_ipv6_literal(host) && !is_host_name(host) {
            return Err(Malformed::new(format!("`{text}` has no valid host")).help(FORMS));
        }
        let number = port.map_or(Some(PORT), |port| {
            port.parse().ok().filter(|number| *number > 0 && !port.starts_with('+'))
        });
        let Some(port) = number else {
            let error = Malformed::new(format!("`{text}` has no valid port"));
            return Err(error.help("write a number from 1 to 65535"));
        };
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        Ok(Self { host, port })
    }
}

impl fmt::Display for LogOutput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stdout => f.write_str("stdout"),
            Self::Stderr => f.write_str("stderr"),
            Self::File(path) => path.display().fmt(f),
            Self::Syslog(receiver) => receiver.fmt(f),
        }
    }
}

impl fmt::Display for SyslogReceiver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Udp(server) => write!(f, "{SYSLOG}udp://{server}"),
            Self::Tcp(server) => write!(f, "{SYSLOG}tcp://{server}"),
            Self::Unix(path) => write!(f, "{SYSLOG}unix://{}", path.display()),
        }
    }
}

impl fmt::Display for SyslogServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port),
            false => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::LogOutput;

    #[test]
    fn output_is_a_stream_a_file_or_a_receiver_of_syslog() {
        for (text, expected) in [
            ("stdout", "stdout"),
            ("logs/access.log", "logs/access.log"),
            ("./syslog+udp", "./syslog+udp"),
            ("syslog", "syslog"),
            ("syslog+udp://logs.internal", "syslog+udp://logs.internal:514"),
            ("syslog+tcp://[::1]:1514", "syslog+tcp://[::1]:1514"),
            ("syslog+tcp://[::1]", "syslog+tcp://[::1]:514"),
            ("syslog+unix:///dev/log", "syslog+unix:///dev/log"),
        ] {
            assert_eq!(text.parse::<LogOutput>().unwrap().to_string(), expected, "{text}");
        }
        for text in [
            "",
            "syslog:",
            "syslog://a",
            "syslog+udp",
            "syslog+udp://",
            "syslog+udp://a b",
            "syslog+udp://a:0",
            "syslog+udp://a:+1",
            "syslog+udp://a:65536",
            "syslog+udp://a/b",
            "syslog+udp://::1",
            "syslog+tls://a",
            "syslog+unix://dev/log",
            "syslog+unix:///",
            "syslog+unix:///a b",
        ] {
            assert!(text.parse::<LogOutput>().is_err(), "{text}");
        }
    }
}
