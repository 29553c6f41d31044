//! A login in progress: the content of its cookie, and the request that the browser takes to the provider.

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::Uri;
use serde::{Deserialize, Serialize};

use super::seal::{Purpose, Sealer};

/// The seconds in which a login must end.
pub(super) const LOGIN_SECONDS: u64 = 900;

/// The longest place to return to. Behind a longer one, the browser returns to the root.
const PLACE_BYTES_MAX: usize = 2048;

/// The random bytes of a state, a nonce and a verifier (RFC 7636 §4.1 asks for 32).
const RANDOM_BYTES: usize = 32;

/// The letters of a state that are the number of its cookie, so that logins in several tabs have one each.
const NUMBER_LENGTH: usize = 12;

/// A login in progress.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Login {
    /// The value that ties the provider's response to this browser (RFC 6749 §10.12).
    #[serde(rename = "s")]
    pub(super) state: String,
    /// The value that ties the ID token to this login (OpenID Connect Core 1.0 §15.5.2).
    #[serde(rename = "n")]
    pub(super) nonce: String,
    /// The secret that ties the code to this login (RFC 7636).
    #[serde(rename = "v")]
    pub(super) verifier: String,
    /// The path and query to return to.
    #[serde(rename = "p")]
    pub(super) place: String,
    /// The URL that the provider sends the browser back to. The token endpoint compares it.
    #[serde(rename = "u")]
    pub(super) redirect_uri: String,
    /// The time at which it began, in Unix seconds.
    #[serde(rename = "b")]
    pub(super) began: u64,
}

impl Login {
    /// Begins a login for a request of `target`. Returns `None` if there is no randomness.
    pub(super) fn begin(target: &Uri, redirect_uri: String, now: u64) -> Option<Self> {
        let (state, nonce, verifier) = (random()?, random()?, random()?);
        Some(Self { state, nonce, verifier, place: place(target), redirect_uri, began: now })
    }

    pub(super) fn seal(&self, sealer: &Sealer) -> Option<String> {
        sealer.seal(Purpose::Login, &serde_json::to_vec(self).ok()?)
    }

    /// Opens the cookie of a login that has not taken too long.
    pub(super) fn open(sealed: &str, sealer: &Sealer, now: u64) -> Option<Self> {
        let login: Self = serde_json::from_slice(&sealer.open(Purpose::Login, sealed)?).ok()?;
        (now < login.began.saturating_add(LOGIN_SECONDS)).then_some(login)
    }

    /// Returns true for the state of this login.
    pub(super) fn has_state(&self, state: &str) -> bool {
        verify_slices_are_equal(self.state.as_bytes(), state.as_bytes()).is_ok()
    }

    /// Returns the parameters of the request for a code that this login adds (RFC 6749 §4.1.1, RFC 7636 §4.3).
    pub(super) fn parameters(&self) -> [(&'static str, String); 5] {
        let challenge = URL_SAFE_NO_PAD.encode(digest(&SHA256, self.verifier.as_bytes()));
        [
            ("redirect_uri", self.redirect_uri.clone()),
            ("state", self.state.clone()),
            ("nonce", self.nonce.clone()),
            ("code_challenge", challenge),
            ("code_challenge_method", "S256".to_owned()),
        ]
    }
}

/// Returns the number of the cookie of a login with this state.
pub(super) fn number(state: &str) -> Option<&str> {
    state.get(..NUMBER_LENGTH)
}

fn random() -> Option<String> {
    let mut bytes = [0; RANDOM_BYTES];
    aws_lc_rs::rand::fill(&mut bytes).ok()?;
    Some(URL_SAFE_NO_PAD.encode(bytes))
}

/// Returns the path and query to return to after a login. It stays on this host: to a browser, `//a` and `/\a` are hosts.
fn place(target: &Uri) -> String {
    let place = target.path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
    let is_path = match place.as_bytes() {
        [b'/'] => true,
        [b'/', second, ..] => !matches!(second, b'/' | b'\\'),
        _ => false,
    };
    let is_safe = place.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\');
    if is_path && is_safe && place.len() <= PLACE_BYTES_MAX { place.to_owned() } else { "/".to_owned() }
}

/// Returns a URL with these parameters behind those of its query.
pub(super) fn with_query(url: &str, parameters: &[(&str, &str)]) -> String {
    let mut query = form_urlencoded::Serializer::new(String::new());
    query.extend_pairs(parameters);
    let separator = if url.contains('?') { '&' } else { '?' };
    format!("{url}{separator}{}", query.finish())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn place_to_return_to_is_on_this_host() {
        for (target, expected) in [
            ("/", "/"),
            ("/a/b?c=d&e", "/a/b?c=d&e"),
            ("http://h/a?b", "/a?b"),
            ("http://h", "/"),
            ("//evil.example/a", "/"),
            ("///evil.example", "/"),
            ("/%5Cevil.example", "/%5Cevil.example"),
            ("*", "/"),
        ] {
            assert_eq!(place(&target.parse().unwrap()), expected, "{target}");
        }
        assert_eq!(place(&format!("/{}", "x".repeat(PLACE_BYTES_MAX)).parse().unwrap()), "/");
        for target in ["/\\evil.example", "/a\\b"] {
            if let Ok(target) = target.parse() {
                assert_eq!(place(&target), "/");
            }
        }
    }

    #[test]
    fn login_is_opened_in_its_time() {
        let sealer = Sealer::new(&["one"], &["staff"]).unwrap();
        let login = Login::begin(&Uri::from_static("/a"), "https://h/callback".to_owned(), 1000).unwrap();
        let sealed = login.seal(&sealer).unwrap();
        assert!(Login::open(&sealed, &sealer, 1000 + LOGIN_SECONDS - 1) == Some(login.clone()));
        assert!(Login::open(&sealed, &sealer, 1000 + LOGIN_SECONDS).is_none());
        assert!(login.has_state(&login.state) && !login.has_state(&login.nonce) && !login.has_state(""));
        let other = Login::begin(&Uri::from_static("/a"), String::new(), 1000).unwrap();
        assert!(other.state != login.state && other.nonce != login.nonce && other.verifier != login.verifier);
    }

    #[test]
    fn challenge_is_that_of_the_rfc() {
        let mut login = Login::begin(&Uri::from_static("/"), String::new(), 0).unwrap();
        // RFC 7636, appendix B.
        login.verifier = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk".to_owned();
        let [.., (_, challenge), _] = login.parameters();
        assert_eq!(challenge, "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM");
    }

    #[test]
    fn parameters_follow_those_of_the_url() {
        assert_eq!(with_query("https://a/b", &[("c", "d e&f")]), "https://a/b?c=d+e%26f");
        assert_eq!(with_query("https://a/b?x=y", &[("c", "d")]), "https://a/b?x=y&c=d");
    }
}
