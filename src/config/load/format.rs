//! The text formats that the schema names, each with its noun and its check.

use std::fmt::Display;
use std::str::FromStr;

use crate::config::model::wasm::WasmCache;
use crate::config::values::byte_size::ByteSize;
use crate::config::values::certificate_name::{DistinguishedName, SanPattern};
use crate::config::values::cookie_name::CookieName;
use crate::config::values::dns::{DnsServer, DomainName, Resolve, SrvName};
use crate::config::values::duration::Duration;
use crate::config::values::endpoint_url::EndpointUrl;
use crate::config::values::hash_key::HashKey;
use crate::config::values::header::{HeaderMatch, HeaderName, HeaderValue, QueryMatch};
use crate::config::values::header_template::HeaderTemplate;
use crate::config::values::hedge_after::HedgeAfter;
use crate::config::values::host::{HostHeader, HostPattern};
use crate::config::values::issuer_url::IssuerUrl;
use crate::config::values::key_source::KeySource;
use crate::config::values::limit_by::LimitBy;
use crate::config::values::listener_address::{FileMode, ListenerAddress};
use crate::config::values::log_condition::LogCondition;
use crate::config::values::log_field::LogField;
use crate::config::values::log_output::LogOutput;
use crate::config::values::log_tag::LogTag;
use crate::config::values::method::Method;
use crate::config::values::network::{Address, PeerNetwork, ServerName};
use crate::config::values::origin::OriginPattern;
use crate::config::values::otlp_url::OtlpUrl;
use crate::config::values::parameter_name::ParameterName;
use crate::config::values::path::{PathTemplate, RoutePath};
use crate::config::values::rate::Rate;
use crate::config::values::realm::Realm;
use crate::config::values::redirect_target::RedirectTarget;
use crate::config::values::request_target::RequestTarget;
use crate::config::values::rewrite_template::RewriteTemplate;
use crate::config::values::secret::Secret;
use crate::config::values::status_range::StatusRange;
use crate::config::values::store_url::StoreUrl;
use crate::config::values::text::Malformed;
use crate::config::values::token_place::TokenPlace;
use crate::config::values::upgrade_protocol::UpgradeProtocol;

/// A format of texts.
#[derive(Clone, Copy)]
pub(crate) struct Format {
    /// The noun for a text of the format, in a word.
    pub(crate) label: &'static str,
    /// The noun for a text of the format, with an example.
    pub(crate) noun: &'static str,
    /// Checks a text by parsing it as its type.
    pub(crate) check: fn(&str) -> Result<(), Malformed>,
}

/// Returns the format with a name in the schema; `None` if no type has it.
pub(crate) fn find(name: &str) -> Option<Format> {
    Some(match name {
        "byte-size" => of::<ByteSize>("size", "a size such as `64KiB`"),
        "cookie-name" => of::<CookieName>("name", "the name of a cookie such as `session`"),
        "dns-server" => of::<DnsServer>("address", "an IP address such as `10.0.0.2`"),
        "distinguished-name" => {
            of::<DistinguishedName>("name", "a common name such as `worker`, or a whole name")
        }
        "domain-name" => of::<DomainName>("domain", "a domain such as `svc.cluster.local`"),
        "duration" => of::<Duration>("duration", "a duration such as `30s`"),
        "endpoint-url" => of::<EndpointUrl>("URL", "a URL such as `https://example.com`"),
        "file-mode" => of::<FileMode>("mode", "a mode in quotes such as `\"0660\"`"),
        "header-match" => of::<HeaderMatch>("text or `present`", "text of printable ASCII"),
        "header-name" => of::<HeaderName>("header name", "a header name such as `x-request-id`"),
        "header-template" => of::<HeaderTemplate>("text", "text of printable ASCII"),
        "header-value" => of::<HeaderValue>("text", "text of printable ASCII"),
        "host-header" => {
            of::<HostHeader>("`upstream`, `preserve` or host", "`upstream`, `preserve` or a host")
        }
        "host-pattern" => of::<HostPattern>("host", "a host such as `api.example.com`"),
        "issuer-url" => of::<IssuerUrl>("URL", "a URL such as `https://id.example.com`"),
        "key-source" => of::<KeySource>("URL or path", "a URL or a path"),
        "limit-by" => of::<LimitBy>("part", "a part of a request such as `client_ip`"),
        "listener-address" => of::<ListenerAddress>("address", "an address such as `127.0.0.1:8080`"),
        "log-condition" => of::<LogCondition>("condition", "a condition such as `errors` or `slow>1s`"),
        "log-field" => of::<LogField>("field", "the name of a field such as `status`"),
        "log-output" => of::<LogOutput>(
            "`stdout`, `stderr`, path or receiver",
            "`stdout`, `stderr`, a path or a receiver of syslog",
        ),
        "log-tag" => of::<LogTag>("name", "a name such as `gateway`"),
        "method" => of::<Method>("method", "a method such as `GET`"),
        "origin-pattern" => of::<OriginPattern>("origin", "an origin such as `https://app.example.com`"),
        "otlp-url" => of::<OtlpUrl>("URL", "a URL such as `http://127.0.0.1:4317`"),
        "parameter-name" => of::<ParameterName>("name", "the name of a parameter such as `api_key`"),
        "path" => of::<RoutePath>("path", "a path such as `/api`"),
        "path-template" => of::<PathTemplate>("path template", "a path such as `/users/{id}`"),
        "realm" => of::<Realm>("text", "text of printable ASCII"),
        "rate" => of::<Rate>("rate", "a rate such as `100/s`"),
        "rewrite-template" => of::<RewriteTemplate>("path template", "a path such as `/users/{id}`"),
        "redirect-target" => of::<RedirectTarget>("URL or path", "a URL or a path"),
        "request-target" => of::<RequestTarget>("path", "a path such as `/healthz`"),
        "resolve" => of::<Resolve>("`auto`, `off` or duration", "`auto`, `off` or a duration"),
        "san-pattern" => of::<SanPattern>("name", "a name such as `*.internal`"),
        "secret" => of::<Secret>("secret", "`file:PATH` or a variable"),
        "server-name" => of::<ServerName>("host name", "a host name such as `api.internal`"),
        "socket-address" => of::<Address>("address", "an address such as `127.0.0.1:8080`"),
        "srv-name" => of::<SrvName>("name", "a name such as `_http._tcp.api.internal`"),
        "hedge-after" => of::<HedgeAfter>(
            "duration or percentile",
            "a duration such as `50ms`, or a percentile such as `p95`",
        ),
        "hash-key" => of::<HashKey>("part", "a part of a request such as `client_ip`"),
        "store-url" => of::<StoreUrl>("URL", "a URL such as `redis://127.0.0.1:6379`"),
        "status-range" => of::<StatusRange>("range of statuses", "a range of statuses such as `200-299`"),
        "peer-network" => of::<PeerNetwork>("network", "a network such as `10.0.0.0/8`"),
        "token-place" => of::<TokenPlace>("place", "a place such as `bearer`"),
        "upgrade-protocol" => of::<UpgradeProtocol>("protocol", "a protocol such as `websocket`"),
        "wasm-cache" => of::<WasmCache>("`auto`, `off` or path", "`auto`, `off` or a path"),
        "value-match" => of::<QueryMatch>("text or `present`", "text"),
        _ => return None,
    })
}

fn of<T>(label: &'static str, noun: &'static str) -> Format
where
    T: FromStr,
    T::Err: IntoMalformed,
{
    Format { label, noun, check: |text| T::from_str(text).map(|_| ()).map_err(IntoMalformed::into_malformed) }
}

/// A conversion for parse errors, including the impossible error of types that accept every text.
trait IntoMalformed: Display {
    fn into_malformed(self) -> Malformed;
}

impl IntoMalformed for Malformed {
    fn into_malformed(self) -> Malformed {
        self
    }
}

impl IntoMalformed for std::convert::Infallible {
    fn into_malformed(self) -> Malformed {
        match self {}
    }
}
