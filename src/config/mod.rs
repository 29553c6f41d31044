//! The configuration as written in `gateway.yaml`: its keys, their defaults, and the errors in it.
//!
//! Nothing here depends on the running program. [`load()`] reads a file, finds all of its errors, and returns the
//! [`Config`] together with its [`Source`]. Through the source, later stages report at its place in the file what only
//! they can find, such as an unreadable certificate or a port in use.

pub(crate) mod load;
pub(crate) mod model;
mod reference;
#[cfg(test)]
mod tests;
pub(crate) mod values;

pub(crate) use self::load::code::{Code, Severity};
pub(crate) use self::load::error::{ConfigError, ConfigErrors, ConfigWarning, ConfigWarnings};
pub(crate) use self::load::schema::json_schema;
pub(crate) use self::load::source::Source;
pub(crate) use self::load::warnings::warnings;
pub(crate) use self::load::{Loaded, display_name, is_standard_input, load, load_admin, standard_input};
#[cfg(test)]
pub(crate) use self::load::{parse, parse_with};
pub(crate) use self::model::access_log::{AccessLog, LogConditions, LogFormat, Rotate, Syslog};
pub(crate) use self::model::active_health::{ActiveSettings, HttpProbe, ProbeKind};
pub(crate) use self::model::addresses::Networks;
pub(crate) use self::model::admin::{Admin, OpenPath};
pub(crate) use self::model::auth::{
    AuthUse, AuthWay, BasicAuth, ClaimsToHeaders, ForwardAuth, ForwardCertificate, Jwt, JwtAlgorithm,
    MtlsAuth, Oidc, OnAuthError, Require,
};
pub(crate) use self::model::balance::Balance;
pub(crate) use self::model::breaker::BreakerSettings;
#[cfg(test)]
pub(crate) use self::model::config::Workers;
pub(crate) use self::model::config::{Config, RouteSettings};
pub(crate) use self::model::cors::Cors;
pub(crate) use self::model::dns::Dns;
pub(crate) use self::model::filter::{
    Filter, FilterLimits, FilterSettings, FilterUse, Isolation, OnError, OnHeadersPause,
};
pub(crate) use self::model::grpc_web::GrpcWeb;
pub(crate) use self::model::headers::{HeaderEdits, Headers};
pub(crate) use self::model::health::{HealthSettings, PassiveSettings, SuccessRateSettings};
pub(crate) use self::model::hedge::HedgeSettings;
pub(crate) use self::model::http2::ListenerHttp2;
pub(crate) use self::model::keepalive::{KeepaliveSettings, TcpKeepalive};
pub(crate) use self::model::listener::{
    CertificateFiles, ClientAuth, HalfClose, Listener, ListenerLimits, ListenerTls, Protocol, ProxyProtocol,
    TlsVersion, Underscores,
};
pub(crate) use self::model::matches::{Match, PathMatch};
pub(crate) use self::model::mirror::{Mirror, MirrorSettings};
pub(crate) use self::model::pool::{Pool, PoolSettings, Reuse};
#[cfg(test)]
pub(crate) use self::model::rate_limit::Concurrent;
pub(crate) use self::model::rate_limit::{ConcurrentBy, RateLimit, RateLimits, StoreFallback};
pub(crate) use self::model::redirect::{Redirect, RedirectForm};
pub(crate) use self::model::request_id::RequestId;
pub(crate) use self::model::respond::Respond;
pub(crate) use self::model::retry::{Retry, RetryBudget, RetrySettings, RetryTotals};
pub(crate) use self::model::rewrite::{Rewrite, RewriteCookies, RewriteForm, RewriteLocation};
pub(crate) use self::model::route::{Defaults, EncodedSlash, Route, UpstreamChoice, WeightedUpstream};
pub(crate) use self::model::shutdown::Shutdown;
pub(crate) use self::model::sticky::Sticky;
pub(crate) use self::model::store::Store;
pub(crate) use self::model::telemetry::Telemetry;
pub(crate) use self::model::timeouts::{RouteTimeouts, Timeouts};
pub(crate) use self::model::traces::{OtlpProtocol, TraceErrors, TraceParents, Traces};
pub(crate) use self::model::upstream::{HeaderCase, Upstream, UpstreamProtocol, UpstreamTls};
pub(crate) use self::model::wasm::{Wasm, WasmCache};
pub(crate) use self::reference::markdown;
pub(crate) use self::values::byte_size::ByteSize;
pub(crate) use self::values::certificate_name::{DistinguishedName, SanPattern};
pub(crate) use self::values::cookie_name::CookieName;
pub(crate) use self::values::dns::Resolve;
pub(crate) use self::values::duration::Duration;
pub(crate) use self::values::endpoint_url::{EndpointUrl, Server};
pub(crate) use self::values::hash_key::HashKey;
pub(crate) use self::values::header::{HeaderMatch, HeaderName, HeaderValues, QueryMatch};
pub(crate) use self::values::header_template::HeaderTemplate;
pub(crate) use self::values::host::{HostHeader, HostPattern};
pub(crate) use self::values::issuer_url::IssuerUrl;
pub(crate) use self::values::key_source::{KeySource, KeyUrl};
pub(crate) use self::values::limit_by::LimitBy;
pub(crate) use self::values::listener_address::FileMode;
pub(crate) use self::values::log_condition::LogCondition;
pub(crate) use self::values::log_field::{FieldVisitor, LogField, OwnField};
pub(crate) use self::values::log_output::{LogOutput, SyslogReceiver, SyslogServer};
pub(crate) use self::values::max_concurrent::MaxConcurrent;
pub(crate) use self::values::method::Method;
pub(crate) use self::values::network::Address;
pub(crate) use self::values::network::{PeerNetwork, Scheme, ServerName};
pub(crate) use self::values::or_off::OrOff;
pub(crate) use self::values::origin::OriginPattern;
pub(crate) use self::values::parameter_name::ParameterName;
pub(crate) use self::values::path::{PathTemplate, RoutePath};
pub(crate) use self::values::placeholder::{Part, Placeholder};
pub(crate) use self::values::redirect_target::RedirectTarget;
pub(crate) use self::values::rewrite_template::RewriteTemplate;
pub(crate) use self::values::secret::{Secret, Secrets};
pub(crate) use self::values::segment::Segment;
pub(crate) use self::values::template::Piece;
pub(crate) use self::values::text::Malformed;
pub(crate) use self::values::token_place::TokenPlace;
pub(crate) use self::values::unix_socket::{SocketAddress, UnixSocket};
pub(crate) use self::values::upgrade_protocol::UpgradeProtocol;
#[cfg(test)]
pub(crate) use tests::section;
