//! The configuration as it is written: what `gateway.yaml` may say, its defaults, and what is wrong with it.
//!
//! Nothing here knows the running program. [`load()`] reads a file, finds everything that is wrong with it,
//! and answers the [`Config`] together with its [`Source`], through which later stages report what only they
//! can find (a certificate that cannot be read, a port that is taken) at its place in the file.

pub(crate) mod load;
pub(crate) mod model;
mod reference;
#[cfg(test)]
mod tests;
pub mod values;

pub use self::load::error::{ConfigError, ConfigErrors};
pub use self::load::schema::json_schema;
pub use self::load::source::{Segment, Source};
pub use self::load::unused::warnings;
pub use self::load::{Loaded, display_name, load, load_admin, load_with, parse, parse_with};
pub use self::model::admin::Admin;
pub use self::model::config::{Config, RouteSettings, Workers};
pub use self::model::filter::{
    Bodies, Decode, Filter, FilterConfig, FilterLimits, FilterSettings, FilterUse, Isolation, OnError,
    OnHeadersPause,
};
pub use self::model::keepalive::{KeepaliveSettings, TcpKeepalive};
pub use self::model::listener::{
    CertificateFiles, ClientAuth, HalfClose, Listener, ListenerHeaders, ListenerLimits, ListenerTimeouts,
    ListenerTls, Protocol, ProxyProtocol, TlsVersion, Underscores,
};
pub use self::model::pool::{Pool, PoolSettings};
pub use self::model::route::{
    Defaults, EncodedSlash, HeaderEdits, Headers, Match, PathMatch, Paths, Redirect, RedirectForm, Respond,
    Rewrite, RewriteCookies, RewriteForm, RewriteLocation, Route, RouteLimits, UpstreamChoice,
};
pub use self::model::shutdown::Shutdown;
pub use self::model::telemetry::{AccessLog, LogFormat, LogOutput, Telemetry};
pub use self::model::timeouts::{Retry, RetryOn, RetrySettings, RetryTotals, RouteTimeouts, Timeouts};
pub use self::model::upstream::{Balance, Endpoint, HeaderCase, Upstream, UpstreamProtocol, UpstreamTls};
pub use self::model::wasm::{Wasm, WasmCache};
pub use self::reference::markdown;
pub use self::values::http_text::{
    HeaderName, HeaderValue, HeaderValues, HostHeader, HostPattern, Method, RedirectTarget, UpgradeProtocol,
    ValueMatch,
};
pub use self::values::network::{Address, EndpointUrl, Network, Scheme, ServerName};
pub use self::values::path::{PathTemplate, Piece, RoutePath};
pub use self::values::text::Malformed;
pub use self::values::units::{ByteSize, Duration, OrOff};
