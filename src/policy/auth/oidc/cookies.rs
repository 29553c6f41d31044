//! Cookies in several parts, and the names of those of a way.

use std::fmt::Write as _;

use http::{HeaderName, HeaderValue, header};

use crate::http::fields::Fields;
use crate::http::parts::{cookie_names, cookies, remove_cookies_of};

/// The longest value of one cookie. Browsers keep 4096 bytes of name, value and attributes.
const PART_BYTES_MAX: usize = 3800;

/// The most parts of a session.
const PARTS_MAX: usize = 8;

/// The prefix of a cookie that only this very host can set, over HTTPS (RFC 6265bis §4.1.3.2).
const HOST_PREFIX: &str = "__Host-";

/// The part of the name of a login's cookie before its number.
const LOGIN: &str = "-login-";

/// The names of a way's cookies, over HTTPS and over plain HTTP. A client on plain HTTP cannot set those over HTTPS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct CookieNames {
    secure: Box<str>,
    plain: Box<str>,
}

/// The cookies of a way on one scheme.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cookies<'n> {
    name: &'n str,
    is_secure: bool,
}

impl CookieNames {
    /// Creates the names. One that has a prefix already gets no other.
    pub(super) fn new(name: &str, is_prefixed: bool) -> Self {
        let prefix = if is_prefixed { "" } else { HOST_PREFIX };
        Self { secure: format!("{prefix}{name}").into(), plain: name.into() }
    }

    pub(super) fn on(&self, is_secure: bool) -> Cookies<'_> {
        Cookies { name: if is_secure { &self.secure } else { &self.plain }, is_secure }
    }

    /// Removes all cookies of the way from a request, on whichever scheme.
    pub(super) fn remove(&self, headers: &mut Fields) {
        remove_cookies_of(headers, |name| {
            [&self.secure, &self.plain].iter().any(|own| {
                let rest = name.strip_prefix(own.as_bytes());
                rest.is_some_and(|rest| {
                    rest.is_empty() || rest.starts_with(LOGIN.as_bytes()) || is_part(rest)
                })
            })
        });
    }
}

/// Returns true for the end of the name of a further part: `-2` to `-8`.
fn is_part(rest: &[u8]) -> bool {
    matches!(rest, [b'-', digit] if (b'2'..=b'0' + PARTS_MAX as u8).contains(digit))
}

impl<'n> Cookies<'n> {
    /// Returns the name of a part, from 1.
    fn part(&self, number: usize) -> String {
        if number == 1 { self.name.to_owned() } else { format!("{}-{number}", self.name) }
    }

    /// Returns the name of the cookie of a login, whose number is a part of its state.
    pub(super) fn login(&self, number: &str) -> String {
        format!("{}{LOGIN}{number}", self.name)
    }

    /// Returns the session of a request: the first part begins with the number of parts.
    pub(super) fn session(&self, headers: &Fields) -> Option<String> {
        let first = text(headers, self.name)?;
        let parts = first.bytes().next().map(|digit| usize::from(digit.wrapping_sub(b'0')))?;
        let mut session = first.get(1..)?.to_owned();
        if !(1..=PARTS_MAX).contains(&parts) {
            return None;
        }
        for number in 2..=parts {
            session.push_str(text(headers, &self.part(number))?);
        }
        Some(session)
    }

    /// Returns the numbers of the logins that a request has cookies of.
    pub(super) fn logins<'h>(&self, headers: &'h Fields) -> impl Iterator<Item = &'h str> + use<'h> {
        let prefix = format!("{}{LOGIN}", self.name);
        let names = cookie_names(headers).filter_map(|name| std::str::from_utf8(name).ok());
        names.filter_map(move |name| name.strip_prefix(&*prefix))
    }

    /// Returns the value of the cookie of a login.
    pub(super) fn login_value<'h>(&self, headers: &'h Fields, number: &str) -> Option<&'h str> {
        text(headers, &self.login(number))
    }

    /// Adds the fields that set a session, and that expire the parts of one before, of which `request` has more. Returns false if the
    /// session is too long.
    pub(super) fn set_session(
        &self,
        session: &str,
        seconds: u64,
        request: &Fields,
        fields: &mut Fields,
    ) -> bool {
        let parts = session.len().div_ceil(PART_BYTES_MAX).max(1);
        if parts > PARTS_MAX || !session.is_ascii() {
            return false;
        }
        let mut rest = session;
        for number in 1..=parts {
            let (part, after) = rest.split_at(rest.len().min(PART_BYTES_MAX));
            rest = after;
            let count = if number == 1 { parts.to_string() } else { String::new() };
            fields.extend(self.set(&self.part(number), &format!("{count}{part}"), seconds));
        }
        self.expire_parts(parts + 1, request, fields);
        true
    }

    /// Adds the fields that expire the session of a request.
    pub(super) fn expire_session(&self, request: &Fields, fields: &mut Fields) {
        self.expire_parts(1, request, fields);
    }

    fn expire_parts(&self, from: usize, request: &Fields, fields: &mut Fields) {
        for name in (from..=PARTS_MAX).map(|number| self.part(number)) {
            if cookies(request, &name).next().is_some() {
                fields.extend(self.set(&name, "", 0));
            }
        }
    }

    /// Returns the field that sets the cookie of a login, or expires it after no seconds.
    pub(super) fn set_login(
        &self,
        number: &str,
        value: &str,
        seconds: u64,
    ) -> Option<(HeaderName, HeaderValue)> {
        self.set(&self.login(number), value, seconds)
    }

    /// `Lax` permits the navigation by which the provider sends a browser back, and no request that another site makes otherwise.
    fn set(&self, name: &str, value: &str, seconds: u64) -> Option<(HeaderName, HeaderValue)> {
        let mut cookie = format!("{name}={value}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Lax");
        if self.is_secure {
            cookie.write_str("; Secure").ok()?;
        }
        Some((header::SET_COOKIE, HeaderValue::try_from(cookie).ok()?))
    }
}

/// Returns the value of the first cookie of a name.
fn text<'h>(headers: &'h Fields, name: &str) -> Option<&'h str> {
    let first = cookies(headers, name).next()?;
    std::str::from_utf8(first).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The request that a browser sends next.
    fn browser(before: &Fields, set: &Fields) -> Fields {
        let mut jar: Vec<(String, String)> = Vec::new();
        let pairs = before.get_all(header::COOKIE).flat_map(|line| line.to_str().unwrap().split("; "));
        let lines = set.get_all(header::SET_COOKIE).map(|line| line.to_str().unwrap());
        for pair in pairs.chain(lines) {
            let (name, value) = pair.split(';').next().unwrap().split_once('=').unwrap();
            jar.retain(|(known, _)| known != name);
            if !pair.contains("Max-Age=0;") {
                jar.push((name.to_owned(), value.to_owned()));
            }
        }
        let jar: Vec<String> = jar.iter().map(|(name, value)| format!("{name}={value}")).collect();
        Fields::from_iter([(header::COOKIE, HeaderValue::try_from(jar.join("; ")).unwrap())])
    }

    #[test]
    fn session_is_in_as_many_cookies_as_it_needs() {
        let names = CookieNames::new("gw", false);
        let cookies = names.on(true);
        let mut request = Fields::new();
        for (length, parts) in [(1, 1), (3800, 1), (3801, 2), (20_000, 6), (5000, 2), (10, 1)] {
            let (session, mut set) = ("x".repeat(length), Fields::new());
            assert!(cookies.set_session(&session, 60, &request, &mut set));
            for line in set.get_all(header::SET_COOKIE) {
                assert!(line.len() < 4096, "{}", line.len());
                assert!(line.to_str().unwrap().starts_with("__Host-gw"));
                assert!(line.to_str().unwrap().ends_with("; HttpOnly; SameSite=Lax; Secure"));
            }
            request = browser(&request, &set);
            assert_eq!(cookie_names(&request).count(), parts, "{length}");
            assert_eq!(cookies.session(&request), Some(session));
            assert_eq!(names.on(false).session(&request), None);
        }
        assert!(!cookies.set_session(&"x".repeat(40_000), 60, &request, &mut Fields::new()));
        let mut set = Fields::new();
        cookies.expire_session(&request, &mut set);
        assert_eq!(browser(&request, &set), Fields::written(&[("cookie", "")]));
    }

    #[test]
    fn session_that_lacks_a_part_is_none() {
        let names = CookieNames::new("gw", false);
        for cookie in ["gw=", "gw=0a", "gw=9a", "gw=2a", "gw=xa", "gw-2=a", "a=1a"] {
            assert_eq!(names.on(false).session(&Fields::written(&[("cookie", cookie)])), None, "{cookie}");
        }
        let request = Fields::written(&[("cookie", "gw=2a; gw-2=b; gw-3=c")]);
        assert_eq!(names.on(false).session(&request).as_deref(), Some("ab"));
    }

    #[test]
    fn all_cookies_of_a_way_are_removed_and_no_others() {
        let names = CookieNames::new("gw", false);
        let mut request = Fields::written(&[
            ("cookie", "gw=1; gw-2=2; gw-9=3; gw-login-abc=4; __Host-gw=5; __Host-gw-8=6; a=7"),
            ("cookie", "gwx=8; __Host-gw-login-x=9"),
            ("cookie", "gw-login-z=10"),
        ]);
        assert_eq!(names.on(false).logins(&request).collect::<Vec<_>>(), ["abc", "z"]);
        names.remove(&mut request);
        assert_eq!(request, Fields::written(&[("cookie", "gw-9=3; a=7"), ("cookie", "gwx=8")]));
    }
}
