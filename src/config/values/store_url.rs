//! The URL of a store, as the file writes it.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use super::host::{is_host_name, is_ipv6_literal};
use super::pattern;
use super::text::{Malformed, text_type};

/// The most servers that a URL names.
const SERVERS_MAX: usize = 16;

/// The characters of a user, beside escapes: visible ASCII other than `#%/:?@`.
const USER: &str = "[!\"$&-.0-9;->A-~]";

/// The characters of a path: visible ASCII other than `#?@`.
const PATH: &str = "[!\"$->A-~]";

const FORMS: &str = "write `redis://HOST:PORT`, `rediss://…` for TLS, `redis+unix:///PATH`, `redis+sentinel://HOST,HOST/MASTER` or `redis+cluster://HOST,HOST`";

/// The place of a store, and the credentials for it.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct StoreUrl {
    /// True for `rediss`.
    pub(crate) has_tls: bool,
    pub(crate) place: StorePlace,
    pub(crate) username: Option<String>,
    /// Never shown.
    pub(crate) password: Option<String>,
    pub(crate) database: u16,
}

/// The servers of a store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum StorePlace {
    One(StoreServer),
    Unix(PathBuf),
    /// The sentinels that know which server is the master of this name.
    Sentinel(Vec<StoreServer>, String),
    /// Some of a cluster's servers, which know the others.
    Cluster(Vec<StoreServer>),
}

/// A server of a store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StoreServer {
    /// A name, an IPv4 address, or an IPv6 address without brackets; in lower case.
    pub(crate) host: String,
    pub(crate) port: u16,
}

// Without a password: one that is written out is refused, and a text with a variable is no matter of the pattern.
text_type!(StoreUrl, format: "store-url", pattern: {
    let host = format!("(?:{}\\.?|\\[{}\\])", pattern::host_name_in_list(), pattern::ipv6());
    let server = format!("{host}(?::{})?", pattern::port());
    let servers = format!("{server}(?:,{server}){{0,{}}}", SERVERS_MAX - 1);
    let user = format!("(?:(?:{USER}|%[2-7][0-9A-Fa-f])*@)?");
    let database = pattern::number_without_zeros(0, u16::MAX.into());
    pattern::whole(&pattern::any([
        format!("rediss?://{user}{server}(?:/(?:{database})?)?"),
        format!("redis\\+unix://{user}/{PATH}+(?:\\?db={database})?"),
        format!("rediss?\\+sentinel://{user}{servers}/[0-9A-Za-z._-]+(?:/{database})?"),
        format!("rediss?\\+cluster://{user}{servers}/?"),
    ]))
});

impl fmt::Display for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.place {
            StorePlace::One(_) => "",
            StorePlace::Unix(_) => "+unix",
            StorePlace::Sentinel(..) => "+sentinel",
            StorePlace::Cluster(_) => "+cluster",
        };
        write!(f, "redis{}{kind}://", if self.has_tls { "s" } else { "" })?;
        if self.username.is_some() || self.password.is_some() {
            write!(f, "{}", escaped(self.username.as_deref().unwrap_or_default()))?;
            f.write_str(if self.password.is_some() { ":(hidden)@" } else { "@" })?;
        }
        match (&self.place, self.database) {
            (StorePlace::One(server), 0) => server.fmt(f),
            (StorePlace::One(server), database) => write!(f, "{server}/{database}"),
            (StorePlace::Unix(path), 0) => path.display().fmt(f),
            (StorePlace::Unix(path), database) => write!(f, "{}?db={database}", path.display()),
            (StorePlace::Sentinel(servers, master), 0) => write!(f, "{}/{master}", List(servers)),
            (StorePlace::Sentinel(servers, master), database) => {
                write!(f, "{}/{master}/{database}", List(servers))
            }
            (StorePlace::Cluster(servers), _) => List(servers).fmt(f),
        }
    }
}

/// Prints no password.
impl fmt::Debug for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for StoreServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port),
            false => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

struct List<'a>(&'a [StoreServer]);

impl fmt::Display for List<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, server) in self.0.iter().enumerate() {
            write!(f, "{}{server}", if index == 0 { "" } else { "," })?;
        }
        Ok(())
    }
}

// The messages do not have the text: it may have a password.
impl FromStr for StoreUrl {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        let (scheme, rest) = text
            .split_once("://")
            .ok_or_else(|| Malformed::new("the place of the store is not a URL").help(FORMS))?;
        let (user_info, place) = match rest.rsplit_once('@') {
            Some((user_info, place)) => (Some(user_info), place),
            None => (None, rest),
        };
        let (username, password) = user_info.map(credentials).transpose()?.unwrap_or_default();
        let (has_tls, kind) = match scheme.strip_prefix("rediss") {
            Some(kind) => (true, kind),
            None => (false, scheme.strip_prefix("redis").unwrap_or(scheme)),
        };
        let (place, database) = match kind {
            "" => one(place)?,
            "+unix" if !has_tls => unix(place)?,
            "+sentinel" => sentinel(place)?,
            "+cluster" => (StorePlace::Cluster(servers(place.strip_suffix('/').unwrap_or(place), 6379)?), 0),
            _ => return Err(Malformed::new("the URL of the store has an unknown scheme").help(FORMS)),
        };
        Ok(Self { has_tls, place, username, password, database })
    }
}

fn one(text: &str) -> Result<(StorePlace, u16), Malformed> {
    let (host, path) = text.split_once('/').unwrap_or((text, ""));
    let database = if path.is_empty() { 0 } else { database(path)? };
    Ok((StorePlace::One(server(host, 6379)?), database))
}

fn unix(text: &str) -> Result<(StorePlace, u16), Malformed> {
    let (path, query) = text.split_once('?').map_or((text, None), |(path, query)| (path, Some(query)));
    let is_path = path.len() > 1
        && path.starts_with('/')
        && path.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#');
    if !is_path {
        let error = Malformed::new("the URL of the store has no valid path of a socket");
        return Err(error.help("write `redis+unix:///run/redis/redis.sock`"));
    }
    let database = match query {
        None => 0,
        Some(query) => {
            let number = query.strip_prefix("db=");
            database(number.ok_or_else(|| {
                Malformed::new("the URL of the store has an unknown query").help("write `?db=1`")
            })?)?
        }
    };
    Ok((StorePlace::Unix(path.into()), database))
}

fn sentinel(text: &str) -> Result<(StorePlace, u16), Malformed> {
    let no_master = || {
        Malformed::new("the URL of the sentinels has no valid name of a master")
            .help("write `redis+sentinel://HOST,HOST/MASTER`")
    };
    let (hosts, path) = text.split_once('/').ok_or_else(no_master)?;
    let (master, number) = path.split_once('/').map_or((path, None), |(name, number)| (name, Some(number)));
    let is_good = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    if master.is_empty() || !master.bytes().all(is_good) {
        return Err(no_master());
    }
    let database = number.map(database).transpose()?.unwrap_or_default();
    Ok((StorePlace::Sentinel(servers(hosts, 26379)?, master.to_owned()), database))
}

fn servers(text: &str, port: u16) -> Result<Vec<StoreServer>, Malformed> {
    let servers: Vec<StoreServer> =
        text.split(',').map(|text| server(text, port)).collect::<Result<_, _>>()?;
    if servers.len() > SERVERS_MAX {
        let message = format!("the URL of the store names more than {SERVERS_MAX} servers");
        return Err(Malformed::new(message).help("some of them are enough: they know the others"));
    }
    Ok(servers)
}

fn server(text: &str, default_port: u16) -> Result<StoreServer, Malformed> {
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, Some(port)),
        _ => (text, None),
    };
    if !is_ipv6_literal(host) && !is_host_name(host.strip_suffix('.').unwrap_or(host)) {
        return Err(Malformed::new("the URL of the store has no valid host").help(FORMS));
    }
    let port = match port {
        None => default_port,
        Some(port) => match port.parse::<u16>() {
            Ok(number) if number > 0 && !port.starts_with('+') => number,
            _ => {
                let error = Malformed::new("the URL of the store has no valid port");
                return Err(error.help("write a number from 1 to 65535"));
            }
        },
    };
    let host = host.trim_start_matches('[').trim_end_matches(']').to_ascii_lowercase();
    Ok(StoreServer { host, port })
}

fn database(text: &str) -> Result<u16, Malformed> {
    let is_plain = text == "0" || !text.starts_with(['0', '+']);
    text.parse().ok().filter(|_| is_plain).ok_or_else(|| {
        Malformed::new("the URL of the store has no valid number of a database")
            .help("write `/0`, or leave it out")
    })
}

/// Returns the user and the password of `USER:PASSWORD`.
fn credentials(text: &str) -> Result<(Option<String>, Option<String>), Malformed> {
    let (user, password) =
        text.split_once(':').map_or((text, None), |(user, password)| (user, Some(password)));
    let user = unescaped(user)?;
    let password = password.map(unescaped).transpose()?.filter(|password| !password.is_empty());
    Ok((Some(user).filter(|user| !user.is_empty()), password))
}

/// Decodes the escapes of a user or a password.
fn unescaped(text: &str) -> Result<String, Malformed> {
    let refused = || {
        Malformed::new("the URL of the store has a user or a password with a character that must be escaped")
            .help("write `%40` for `@`, `%2F` for `/`, `%3A` for `:`, `%25` for `%`, `%23` for `#` and `%3F` for `?`")
    };
    let (mut decoded, mut rest) = (String::with_capacity(text.len()), text.as_bytes());
    while let Some((&byte, after)) = rest.split_first() {
        let (byte, after) = match (byte, after.split_first_chunk::<2>()) {
            (b'%', Some((digits, after))) => {
                let digits = std::str::from_utf8(digits).ok().filter(|digits| !digits.starts_with('+'));
                let byte = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok());
                (byte.filter(|byte| (0x20..0x80).contains(byte)).ok_or_else(refused)?, after)
            }
            (b'%' | b'@' | b'/' | b'#' | b'?', _) => return Err(refused()),
            (byte, _) if byte.is_ascii_graphic() => (byte, after),
            _ => return Err(refused()),
        };
        decoded.push(char::from(byte));
        rest = after;
    }
    Ok(decoded)
}

fn escaped(text: &str) -> String {
    let must = |c: char| !c.is_ascii_graphic() || "@/:%#?".contains(c);
    text.chars().map(|c| if must(c) { format!("%{:02X}", u32::from(c)) } else { c.to_string() }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_read_and_printed_without_their_passwords() {
        for (text, printed) in [
            ("redis://a", "redis://a:6379"),
            ("redis://127.0.0.1:7000/3", "redis://127.0.0.1:7000/3"),
            ("rediss://user:p%40ss@A.example/", "rediss://user:(hidden)@a.example:6379"),
            ("redis://:geheim@[::1]", "redis://:(hidden)@[::1]:6379"),
            ("redis://gate%3Away@a", "redis://gate%3Away@a:6379"),
            ("redis+unix:///run/r.sock?db=2", "redis+unix:///run/r.sock?db=2"),
            ("redis+sentinel://a,b:1/main", "redis+sentinel://a:26379,b:1/main"),
            ("redis+sentinel://:x@a/main.1/4", "redis+sentinel://:(hidden)@a:26379/main.1/4"),
            ("rediss+cluster://a,[::1]:7000/", "rediss+cluster://a:6379,[::1]:7000"),
        ] {
            let url: StoreUrl = text.parse().unwrap();
            assert_eq!(
                (url.to_string(), format!("{url:?}")),
                (printed.to_owned(), printed.to_owned()),
                "{text}"
            );
        }
        let url: StoreUrl = "redis://u%2F:a%3A%40b:c@h".parse().unwrap();
        assert_eq!((url.username.as_deref(), url.password.as_deref()), (Some("u/"), Some("a:@b:c")));
    }

    #[test]
    fn malformed_urls_are_refused_and_their_passwords_not_shown() {
        for text in [
            "",
            "localhost:6379",
            "http://a",
            "redis://",
            "redis://a b",
            "redis://a:0",
            "redis://a/x",
            "redis://a/01",
            "redis://a/70000",
            "redis://a?x=1",
            "redis://a,b",
            "redis://u:hunter2#x@a",
            "redis://u:hunter2%zz@a",
            "redis://u:hunter2@a:99999",
            "redis+unix://",
            "redis+unix://a",
            "redis+unix:///a?x=hunter2",
            "rediss+unix:///a",
            "redis+sentinel://a",
            "redis+sentinel://a/",
            "redis+sentinel://a/b c",
            "redis+cluster://a,",
            "redis+cluster://a/1",
        ] {
            let error = text.parse::<StoreUrl>().unwrap_err();
            assert!(!format!("{error:?}").contains("hunter2"), "{text}");
        }
    }
}
