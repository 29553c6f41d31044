//! The rules of who may ask the admin listener, and for what.
//!
//! Three kinds of requests come to an address that only operators should reach: those of operators, those of a web page in an
//! operator's browser, and those of anyone else who reaches it. A token tells the first from all others. Without one, a page is known by
//! the host that it names (DNS rebinding) or by its origin, and anyone else only by the address that the listener has.

use std::net::IpAddr;
use std::str::FromStr;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use http::header::{AUTHORIZATION, HOST, ORIGIN, WWW_AUTHENTICATE};
use http::uri::Authority;
use http::{HeaderMap, HeaderValue, Request, StatusCode};

use super::problem::Problem;
use crate::config::{HostPattern, OpenPath};

/// The settings of access.
#[derive(Default)]
pub(crate) struct Access {
    /// The valid tokens; none if none is needed.
    tokens: Vec<String>,
    open: Vec<OpenPath>,
    hosts: Vec<HostPattern>,
}

/// The sensitivity of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sensitivity {
    /// It shows nothing of the configuration: a probe, which sends no token and names whatever host it likes.
    Probe,
    /// It has no data: a file of the page.
    Page,
    Metrics,
    Data,
}

/// The address of the listener that a request came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reach {
    /// This machine alone reaches it.
    Loopback,
    Network,
}

impl Access {
    pub(crate) fn new(tokens: Vec<String>, open: Vec<OpenPath>, hosts: Vec<HostPattern>) -> Self {
        Self { tokens, open, hosts }
    }

    /// Returns the reason why a request is refused.
    ///
    /// # Errors
    /// The host is none of this listener, the token is missing or wrong, or the request would change something and comes from a page of
    /// another site, or from anywhere while there is no token.
    pub(super) fn check<B>(
        &self,
        request: &Request<B>,
        reach: Reach,
        sensitivity: Sensitivity,
        writes: bool,
    ) -> Result<(), Box<Problem>> {
        if sensitivity == Sensitivity::Probe && !writes {
            return Ok(());
        }
        let has_token = self.has_token(request.headers());
        let is_guarded = reach == Reach::Loopback || self.tokens.is_empty();
        if is_guarded && !has_token && !self.is_own_name(request) {
            return Err(Problem::new("host", StatusCode::FORBIDDEN, HOST_ADVICE).into());
        }
        let is_open = match sensitivity {
            Sensitivity::Probe | Sensitivity::Page => true,
            Sensitivity::Metrics => self.open.contains(&OpenPath::Metrics),
            Sensitivity::Data => false,
        };
        if !self.tokens.is_empty() && !has_token && (writes || !is_open) {
            // RFC 9110 §11.6.1, RFC 6750 §3.
            let challenge = HeaderValue::from_static("Bearer realm=\"gateway admin\"");
            let problem = Problem::new("token", StatusCode::UNAUTHORIZED, TOKEN_ADVICE);
            return Err(problem.with_field(WWW_AUTHENTICATE, challenge).into());
        }
        if !writes {
            return Ok(());
        }
        if !is_same_origin(request.headers()) {
            return Err(Problem::new("origin", StatusCode::FORBIDDEN, ORIGIN_ADVICE).into());
        }
        if self.tokens.is_empty() && reach == Reach::Network {
            return Err(Problem::new("read-only", StatusCode::FORBIDDEN, READ_ONLY_ADVICE).into());
        }
        Ok(())
    }

    /// Returns true if the request has a valid token. The time that this takes does not tell which bytes of it are right.
    fn has_token(&self, headers: &HeaderMap) -> bool {
        let Some(value) = headers.get(AUTHORIZATION) else { return false };
        let Some((scheme, token)) = value.as_bytes().split_at_checked(SCHEME.len()) else { return false };
        scheme.eq_ignore_ascii_case(SCHEME)
            && self.tokens.iter().fold(false, |found, valid| {
                found | verify_slices_are_equal(token.trim_ascii(), valid.as_bytes()).is_ok()
            })
    }

    /// Returns true if the request names its host by an IP address, as `localhost`, by a name without a dot, which no other site has,
    /// or by one of `admin.hosts`; or, as HTTP/1.0 permits, not at all.
    fn is_own_name<B>(&self, request: &Request<B>) -> bool {
        let is_own = |authority: &Authority| {
            let host = authority.host();
            let address = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
            let name = host.to_ascii_lowercase();
            IpAddr::from_str(address).is_ok()
                || !name.is_empty() && !name.contains('.')
                || self.hosts.iter().any(|pattern| pattern.covers(&name))
        };
        let fields = request.headers().get_all(HOST);
        request.uri().authority().is_none_or(is_own)
            && fields
                .iter()
                .all(|field| Authority::try_from(field.as_bytes()).is_ok_and(|host| is_own(&host)))
    }
}

/// The scheme of a token in `Authorization` (RFC 6750 §2.1).
const SCHEME: &[u8] = b"Bearer ";

const HOST_ADVICE: &str = "The Host of a request to this listener must be an IP address, localhost, a name without a dot, or one of \
                           `admin.hosts`. Any other may be that of a web page whose name resolves to this address.";
const TOKEN_ADVICE: &str = "Send the token of `admin.token`: `Authorization: Bearer TOKEN`.";
const ORIGIN_ADVICE: &str = "A page of another site must not change anything here.";
const READ_ONLY_ADVICE: &str = "Nothing can be changed here, because everyone who reaches this address could. Set `admin.token`, or \
                                listen on 127.0.0.1.";

/// Returns true unless a page of another site sent the request. A browser names the site whose page sends a request other than GET
/// (RFC 6454 §7); other clients name none.
fn is_same_origin(headers: &HeaderMap) -> bool {
    let Some(origin) = headers.get(ORIGIN) else { return true };
    let authority =
        origin.to_str().ok().and_then(|origin| origin.split_once("://")).map(|(_, authority)| authority);
    authority.is_some_and(|authority| headers.get(HOST).is_some_and(|host| host == authority))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: &str = "0123456789abcdef";

    fn request(fields: &[(&str, &str)]) -> Request<()> {
        let builder = fields
            .iter()
            .fold(Request::get("/api/pools"), |request, (name, value)| request.header(*name, *value));
        builder.body(()).unwrap()
    }

    /// Returns the status with which a request is refused, or 200.
    fn status(
        access: &Access,
        fields: &[(&str, &str)],
        reach: Reach,
        sensitivity: Sensitivity,
        writes: bool,
    ) -> u16 {
        let checked = access.check(&request(fields), reach, sensitivity, writes);
        checked.map_or_else(|problem| problem.status().as_u16(), |()| 200)
    }

    #[test]
    fn only_names_of_this_machine_and_configured_ones_pass() {
        let hosts = ["admin.example.com", "*.internal.example"].map(|host| host.parse().unwrap());
        let access = Access::new(vec![], vec![], hosts.into());
        for (host, passes) in [
            ("localhost", true),
            ("LocalHost:9901", true),
            ("127.0.0.1:9901", true),
            ("[::1]:9901", true),
            ("10.1.2.3", true),
            ("gateway:9901", true),
            ("Admin.Example.com:9901", true),
            ("a.internal.example", true),
            ("internal.example", false),
            ("evil.example", false),
            ("localhost.evil.example", false),
            ("127.0.0.1.evil.example:9901", false),
            ("", false),
        ] {
            assert_eq!(access.is_own_name(&request(&[("host", host)])), passes, "{host}");
        }
        assert!(access.is_own_name(&request(&[])));
        let absolute = Request::get("http://evil.example/pools").body(()).unwrap();
        assert!(!access.is_own_name(&absolute));
        assert!(!access.is_own_name(&request(&[("host", "localhost"), ("host", "evil.example")])));
    }

    #[test]
    fn without_a_token_only_loopback_may_write() {
        let access = Access::default();
        let local = [("host", "localhost")];
        for (reach, writes, expected) in [
            (Reach::Loopback, false, 200),
            (Reach::Loopback, true, 200),
            (Reach::Network, false, 200),
            (Reach::Network, true, 403),
        ] {
            assert_eq!(
                status(&access, &local, reach, Sensitivity::Data, writes),
                expected,
                "{reach:?} {writes}"
            );
        }
        for reach in [Reach::Loopback, Reach::Network] {
            let foreign = [("host", "evil.example")];
            assert_eq!(status(&access, &foreign, reach, Sensitivity::Data, false), 403, "{reach:?}");
            assert_eq!(status(&access, &foreign, reach, Sensitivity::Probe, false), 200, "{reach:?}");
        }
    }

    #[test]
    fn with_a_token_all_but_probes_the_bare_page_and_open_paths_need_it() {
        let access =
            Access::new(vec!["another-valid-token".into(), TOKEN.into()], vec![OpenPath::Metrics], vec![]);
        let bearer = format!("bEARER {TOKEN}");
        for (sensitivity, without) in [
            (Sensitivity::Probe, 200),
            (Sensitivity::Page, 200),
            (Sensitivity::Metrics, 200),
            (Sensitivity::Data, 401),
        ] {
            for reach in [Reach::Loopback, Reach::Network] {
                let plain = [("host", "localhost")];
                assert_eq!(
                    status(&access, &plain, reach, sensitivity, false),
                    without,
                    "{sensitivity:?} {reach:?}"
                );
                let authorized = [("host", "gateway.example"), ("authorization", &bearer)];
                assert_eq!(status(&access, &authorized, reach, sensitivity, false), 200);
                assert_eq!(status(&access, &authorized, reach, sensitivity, true), 200);
                assert_eq!(status(&access, &plain, reach, sensitivity, true), 401);
            }
        }
        for wrong in [
            "Bearer ",
            "Bearer 0123456789abcde",
            "Bearer 0123456789abcdeg",
            "Basic 0123456789abcdef",
            "B",
            TOKEN,
        ] {
            let fields = [("host", "localhost"), ("authorization", wrong)];
            assert_eq!(status(&access, &fields, Reach::Loopback, Sensitivity::Data, false), 401, "{wrong}");
        }
        let closed = Access::new(vec![TOKEN.into()], vec![], vec![]);
        let scrape = [("host", "10.0.0.1")];
        assert_eq!(status(&closed, &scrape, Reach::Network, Sensitivity::Metrics, false), 401);
    }

    #[test]
    fn page_of_another_site_changes_nothing() {
        for (origin, expected) in [
            ("http://localhost", 200),
            ("http://evil.example", 403),
            ("null", 403),
            ("https://localhost.evil.example", 403),
        ] {
            let fields = [("host", "localhost"), ("origin", origin)];
            let found = status(&Access::default(), &fields, Reach::Loopback, Sensitivity::Data, true);
            assert_eq!(found, expected, "{origin}");
        }
    }
}
