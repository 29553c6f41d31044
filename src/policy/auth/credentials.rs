//! The parts of a request that may show who sends it.

use std::borrow::Cow;
use std::net::IpAddr;

use http::{Method, Uri, header};

use crate::config::Scheme;
use crate::http::fields::Fields;
use crate::http::forward::{Forwarding, TrustedProxies};
use crate::http::parts::without_parameter;
use crate::net::tls::ClientCertificate;

/// The parts of a request that may show who sends it. Ways read them, and remove what must not be forwarded.
pub(crate) struct Credentials<'r, 't> {
    pub(crate) headers: &'r mut Fields,
    pub(crate) target: &'r mut Cow<'t, Uri>,
    /// The verified certificate of the connection, if it has one.
    pub(crate) certificate: Option<&'r ClientCertificate>,
    pub(crate) context: RequestContext<'r>,
}

/// The parts of a request that no way changes.
#[derive(Clone, Copy)]
pub(crate) struct RequestContext<'r> {
    pub(crate) method: &'r Method,
    /// The normalised path.
    pub(crate) path: &'r str,
    /// The values that its connection adds to each request.
    pub(crate) forwarding: &'r Forwarding,
    pub(crate) trusted_proxies: &'r TrustedProxies,
    /// True if traces are on.
    pub(crate) is_traced: bool,
}

impl Credentials<'_, '_> {
    /// Removes the parameters of this name from the query.
    pub(crate) fn remove_parameter(&mut self, name: &str) {
        if let Some(target) = without_parameter(self.target, name) {
            *self.target = Cow::Owned(target);
        }
    }

    /// Returns the requested host with its port: the target's, if it has one (RFC 9112 §3.2.2). Empty if there is none.
    pub(crate) fn authority(&self) -> &str {
        let of_field = || self.headers.get(header::HOST).and_then(|host| host.to_str().ok());
        self.target.authority().map(|authority| authority.as_str()).or_else(of_field).unwrap_or_default()
    }

    /// Returns the scheme that the client used.
    pub(crate) fn scheme(&self) -> Scheme {
        self.context.forwarding.client_scheme(self.headers)
    }

    /// Returns the address of the client, which may be behind proxies that are trusted; `None` on a Unix socket.
    pub(crate) fn client_ip(&self) -> Option<IpAddr> {
        self.context.forwarding.client_ip(self.headers, self.context.trusted_proxies)
    }

    /// Returns the normalised path with the query, as an upstream would get it from a route that rewrites nothing.
    pub(crate) fn path_and_query(&self) -> String {
        match self.target.query() {
            Some(query) => format!("{}?{query}", self.context.path),
            None => self.context.path.to_owned(),
        }
    }
}

#[cfg(test)]
impl RequestContext<'static> {
    /// Creates the context of a request for `/` by an untrusted client.
    pub(super) fn plain() -> Self {
        use std::sync::LazyLock;

        static FORWARDING: LazyLock<Forwarding> =
            LazyLock::new(|| Forwarding::new("192.0.2.1".parse().ok(), &http::uri::Scheme::HTTP, false));
        static TRUSTED: LazyLock<TrustedProxies> = LazyLock::new(TrustedProxies::default);
        Self {
            method: &Method::GET,
            path: "/",
            forwarding: &FORWARDING,
            trusted_proxies: &TRUSTED,
            is_traced: false,
        }
    }
}
