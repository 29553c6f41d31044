//! Field sections (RFC 9113 §8): from decoded fields to one unambiguous message, or the reason for which it is malformed.

use bytes::{Bytes, BytesMut};
use http::uri::{Authority, Parts, Scheme};
use http::{HeaderName, HeaderValue, Method, StatusCode, Uri, header};

use super::hpack::{DecodedField, Name, Pseudo};
use crate::http::error::Error;
use crate::http::fields::Fields;
use crate::http::h1::parse_target;
use crate::http::message::HeadLimits;

/// The message is malformed (RFC 9113 §8.1.1): its stream ends with PROTOCOL_ERROR.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Malformed(pub(crate) &'static str);

/// The head of a request.
#[derive(Debug)]
pub(crate) struct RequestHead {
    pub(crate) method: Method,
    /// With scheme and authority, if the request has `:authority`.
    pub(crate) target: Uri,
    /// `:protocol` of an extended CONNECT (RFC 8441 §4).
    pub(crate) protocol: Option<HeaderValue>,
    /// Without Content-Length, and with one Cookie (RFC 9113 §8.2.3).
    pub(crate) headers: Fields,
    pub(crate) length: Option<u64>,
    /// The limit that the head is beyond. Only a response can be sent then: all fields but Content-Type are missing.
    pub(crate) beyond: Option<Error>,
}

/// The head of a response.
#[derive(Debug)]
pub(crate) struct ResponseHead {
    pub(crate) status: StatusCode,
    /// Without Content-Length.
    pub(crate) headers: Fields,
    pub(crate) length: Option<u64>,
}

/// The length of a Content-Type that is kept of a head beyond a limit.
const FORM_BYTES: usize = 100;

/// Returns true for the field that shows the form in which a client understands an error, as gRPC.
fn shows_form(name: &HeaderName, value: &HeaderValue) -> bool {
    name == header::CONTENT_TYPE && value.len() <= FORM_BYTES
}

/// Collects the fields of one section, in the order in which they come.
#[derive(Debug)]
pub(super) struct Section<'l> {
    limits: &'l HeadLimits,
    method: Option<HeaderValue>,
    scheme: Option<HeaderValue>,
    authority: Option<HeaderValue>,
    path: Option<HeaderValue>,
    status: Option<HeaderValue>,
    protocol: Option<HeaderValue>,
    fields: Fields,
    /// The crumbs of Cookie, joined.
    cookie: BytesMut,
    /// True if a crumb must not enter a table (RFC 7541 §7.1.3). The whole must not, then.
    is_cookie_sensitive: bool,
    length: Option<u64>,
    /// The size by RFC 9113 §10.5.1.
    size: usize,
    malformed: Option<Malformed>,
    beyond: Option<Error>,
    is_regular: bool,
}

impl<'l> Section<'l> {
    pub(super) fn new(limits: &'l HeadLimits) -> Self {
        Self {
            limits,
            method: None,
            scheme: None,
            authority: None,
            path: None,
            status: None,
            protocol: None,
            fields: Fields::with_capacity(16),
            cookie: BytesMut::new(),
            is_cookie_sensitive: false,
            length: None,
            size: 0,
            malformed: None,
            beyond: None,
            is_regular: false,
        }
    }

    /// Takes the next field. After the first limit that it exceeds, only Content-Type is kept.
    pub(super) fn push(&mut self, field: DecodedField) {
        self.size = self.size.saturating_add(field.size);
        if self.size > self.limits.header_bytes {
            self.exceed(Error::HeadTooLarge);
        }
        let result = match (field.name, field.value) {
            (None, _) => Err(Malformed("bad field name")),
            (_, None) => Err(Malformed("bad field value")),
            (Some(Name::Pseudo(pseudo)), Some(value)) => self.pseudo(pseudo, value),
            (Some(Name::Field(name)), Some(value)) => self.field(name, value),
        };
        if let Err(malformed) = result {
            self.malformed.get_or_insert(malformed);
        }
    }

    fn exceed(&mut self, limit: Error) {
        if self.beyond.is_none() {
            self.beyond = Some(limit);
            self.cookie = BytesMut::new();
            self.fields.retain(shows_form);
        }
    }

    fn pseudo(&mut self, pseudo: Pseudo, value: HeaderValue) -> Result<(), Malformed> {
        if self.is_regular {
            return Err(Malformed("a pseudo-field after regular fields"));
        }
        let place = match pseudo {
            Pseudo::Method => &mut self.method,
            Pseudo::Scheme => &mut self.scheme,
            Pseudo::Authority => &mut self.authority,
            Pseudo::Path => &mut self.path,
            Pseudo::Status => &mut self.status,
            Pseudo::Protocol => &mut self.protocol,
        };
        match place.replace(value) {
            Some(_) => Err(Malformed("a repeated pseudo-field")),
            None => Ok(()),
        }
    }

    fn field(&mut self, name: HeaderName, value: HeaderValue) -> Result<(), Malformed> {
        self.is_regular = true;
        match name {
            header::CONTENT_LENGTH => return self.content_length(value.as_bytes()),
            // RFC 9113 §8.2.2.
            header::CONNECTION | header::TRANSFER_ENCODING | header::UPGRADE => {
                return Err(Malformed("a field of one connection"));
            }
            header::TE if value != "trailers" => return Err(Malformed("TE other than trailers")),
            ref name if matches!(name.as_str(), "keep-alive" | "proxy-connection") => {
                return Err(Malformed("a field of one connection"));
            }
            _ => {}
        }
        if self.beyond.is_some() {
            if shows_form(&name, &value) && self.fields.len() == 0 {
                self.fields.append(name, value);
            }
            return Ok(());
        }
        if name == header::COOKIE {
            if !self.cookie.is_empty() {
                self.cookie.extend_from_slice(b"; ");
            }
            self.cookie.extend_from_slice(value.as_bytes());
            self.is_cookie_sensitive |= value.is_sensitive();
            return Ok(());
        }
        if self.fields.len() >= self.limits.headers {
            self.exceed(Error::TooManyHeaders);
            return Ok(());
        }
        self.fields.append(name, value);
        Ok(())
    }

    fn content_length(&mut self, value: &[u8]) -> Result<(), Malformed> {
        let is_number = (1..=18).contains(&value.len()) && value.iter().all(u8::is_ascii_digit);
        if !is_number || self.length.is_some() {
            return Err(Malformed("bad Content-Length"));
        }
        let number = |length: u64, digit: &u8| length * 10 + u64::from(digit - b'0');
        self.length = Some(value.iter().fold(0, number));
        Ok(())
    }

    /// Ends the section of a request's head. `connect_protocol` is true if we allow extended CONNECT.
    pub(super) fn request(mut self, connect_protocol: bool) -> Result<RequestHead, Malformed> {
        self.check_no(|section| &section.status)?;
        if self.path.as_ref().is_some_and(|path| path.len() > self.limits.target_bytes) {
            self.exceed(Error::TargetTooLong);
            self.path = Some(HeaderValue::from_static("/"));
        }
        let method = self.method.take().ok_or(Malformed("no :method"))?;
        let method = Method::from_bytes(method.as_bytes()).map_err(|_| Malformed("bad :method"))?;
        let protocol = self.protocol.take();
        if protocol.is_some() && (method != Method::CONNECT || !connect_protocol) {
            return Err(Malformed("an unexpected :protocol"));
        }
        let target = match method == Method::CONNECT && protocol.is_none() {
            true => self.connect_target()?,
            false => self.target(&method, protocol.is_some())?,
        };
        if !self.cookie.is_empty() {
            let cookie = std::mem::take(&mut self.cookie).freeze();
            let mut cookie =
                HeaderValue::from_maybe_shared(cookie).map_err(|_| Malformed("bad field value"))?;
            cookie.set_sensitive(self.is_cookie_sensitive);
            self.fields.append(header::COOKIE, cookie);
        }
        Ok(RequestHead {
            method,
            target,
            protocol,
            headers: self.fields,
            length: self.length,
            beyond: self.beyond,
        })
    }

    /// Returns the target of CONNECT: an authority alone (RFC 9113 §8.5).
    fn connect_target(&mut self) -> Result<Uri, Malformed> {
        self.check_no(|section| &section.scheme)?;
        self.check_no(|section| &section.path)?;
        let authority = self.take_authority()?.ok_or(Malformed("no :authority"))?;
        let parts = {
            let mut parts = Parts::default();
            parts.authority = Some(authority);
            parts
        };
        Uri::from_parts(parts).map_err(|_| Malformed("bad :authority"))
    }

    fn target(&mut self, method: &Method, is_extended: bool) -> Result<Uri, Malformed> {
        let scheme = self.scheme.take().ok_or(Malformed("no :scheme"))?;
        let scheme = Scheme::try_from(scheme.as_bytes()).map_err(|_| Malformed("bad :scheme"))?;
        let path = self.path.take().ok_or(Malformed("no :path"))?;
        let text = std::str::from_utf8(path.as_bytes()).map_err(|_| Malformed("bad :path"))?;
        let is_asterisk = text == "*" && method == Method::OPTIONS;
        if !text.starts_with('/') && !is_asterisk {
            return Err(Malformed("bad :path"));
        }
        let target = parse_target(text, Bytes::copy_from_slice(path.as_bytes())).map_err(Malformed)?;
        let authority = self.take_authority()?;
        if is_extended && authority.is_none() {
            return Err(Malformed("no :authority"));
        }
        // Without an authority, Host names the host (RFC 9113 §8.3.1).
        let Some(authority) = authority else { return Ok(target) };
        let mut parts = target.into_parts();
        (parts.scheme, parts.authority) = (Some(scheme), Some(authority));
        Uri::from_parts(parts).map_err(|_| Malformed("bad :path"))
    }

    fn take_authority(&mut self) -> Result<Option<Authority>, Malformed> {
        let Some(authority) = self.authority.take() else { return Ok(None) };
        let parsed = Authority::try_from(authority.as_bytes());
        parsed.map(Some).map_err(|_| Malformed("bad :authority"))
    }

    /// Ends the section of a response's head.
    pub(super) fn response(mut self) -> Result<ResponseHead, Malformed> {
        let status = self.status.take();
        self.check_trailers()?;
        let status = status.ok_or(Malformed("no :status"))?;
        let status = StatusCode::from_bytes(status.as_bytes()).map_err(|_| Malformed("bad :status"))?;
        if status == StatusCode::SWITCHING_PROTOCOLS {
            return Err(Malformed("101, which HTTP/2 does not have"));
        }
        if self.beyond.is_some() {
            return Err(Malformed("a head beyond the limits"));
        }
        Ok(ResponseHead { status, headers: self.fields, length: self.length })
    }

    /// Ends the section of trailers, which have no pseudo-fields (RFC 9113 §8.1).
    pub(super) fn trailers(self) -> Result<Fields, Malformed> {
        self.check_trailers()?;
        if self.beyond.is_some() {
            return Err(Malformed("trailers beyond the limits"));
        }
        Ok(self.fields)
    }

    fn check_trailers(&self) -> Result<(), Malformed> {
        let pseudo = [&self.method, &self.scheme, &self.authority, &self.path, &self.status, &self.protocol];
        match self.malformed {
            Some(malformed) => Err(malformed),
            None if pseudo.iter().any(|pseudo| pseudo.is_some()) => {
                Err(Malformed("an unexpected pseudo-field"))
            }
            None => Ok(()),
        }
    }

    /// Returns the first malformation, which the presence of a pseudo-field is, too.
    fn check_no(&self, field: impl Fn(&Self) -> &Option<HeaderValue>) -> Result<(), Malformed> {
        match self.malformed {
            Some(malformed) => Err(malformed),
            None if field(self).is_some() => Err(Malformed("an unexpected pseudo-field")),
            None => Ok(()),
        }
    }
}
