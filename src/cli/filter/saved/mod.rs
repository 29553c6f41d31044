//! Responses saved from `curl -i`, in each form of its output.

use bytes::{Buf as _, Bytes};
use http::{HeaderName, HeaderValue, Method, Response, StatusCode, header};

use crate::config::values::printable::printable;
use crate::filter::coding::is_encoded;
use crate::http::fields::Fields;
use crate::http::message::may_have_body;

/// The advice for output of curl that is not a plain response.
const SAVE_BY: &str = "save the response by `curl -si URL >FILE`";

/// A response from a file, with remarks about how it was saved.
#[derive(Debug)]
pub(super) struct Saved {
    pub(super) response: Response<Bytes>,
    pub(super) notes: Vec<String>,
}

/// Parses a response: a head, an empty line, and the body, which is the rest. Lines end with or without CR.
///
/// Of several heads the last one counts. curl prints the others for interim responses (1xx), a proxy's response to
/// CONNECT, redirects that it follows, and challenges that it answers; it prints none of their bodies. `method` is the
/// method of the request.
///
/// # Errors
/// The file contains no response, or another form of curl's output.
pub(super) fn read(message: &Bytes, method: &Method) -> Result<Saved, String> {
    let message = without_mark(message)?;
    let (mut response, mut body) = head(&message)?;
    let mut passed = Vec::new();
    while has_further_head(&response, &body) {
        let (next, rest) = head(&body)?;
        if !response.status().is_informational() {
            passed.push(response.status().as_str().to_owned());
        }
        (response, body) = (next, rest);
    }
    let mut notes = Vec::new();
    if !passed.is_empty() {
        let last = response.status();
        notes.push(format!("it has several heads ({}); the last one counts: {last}", passed.join(", ")));
    }
    let mut response = response.map(|()| body);
    settle_body(&mut response, method, &mut notes);
    Ok(Saved { response, notes })
}

/// Returns the message without a byte order mark.
fn without_mark(message: &Bytes) -> Result<Bytes, String> {
    if message.starts_with(b"\xff\xfe") || message.starts_with(b"\xfe\xff") {
        return Err(format!(
            "it is UTF-16, which PowerShell writes for `>`; {SAVE_BY} with `curl --output FILE`"
        ));
    }
    let text = message.strip_prefix(b"\xef\xbb\xbf").unwrap_or(message);
    Ok(message.slice_ref(text))
}

/// Returns true if what follows a head is another head, not the head's body.
fn has_further_head(response: &Response<()>, rest: &Bytes) -> bool {
    let status = response.status();
    let mut lines = Lines { rest };
    let Some(line) = lines.next_line().filter(|line| status_of(line).is_some()) else { return false };
    if status.is_informational() {
        return true;
    }
    // A response can be the body of another one: as a document of that type, or of exactly that length.
    let has_field = |name: HeaderName, test: &dyn Fn(&[u8]) -> bool| {
        response.headers().get(name).is_some_and(|value| test(value.as_bytes()))
    };
    let is_document = has_field(header::CONTENT_TYPE, &|value| value.starts_with(b"message/http"));
    let is_length = has_field(header::CONTENT_LENGTH, &|value| value == rest.len().to_string().as_bytes());
    !is_document && !is_length && line.len() < rest.len() && head(rest).is_ok()
}

fn head(message: &Bytes) -> Result<(Response<()>, Bytes), String> {
    let mut lines = Lines { rest: message };
    // The last line of a file may have no end.
    let first = lines.next_line().unwrap_or(message);
    let mut response = Response::new(());
    *response.status_mut() = status_of(first).ok_or_else(|| no_status_line(first))?;
    let mut fields: Vec<(HeaderName, Vec<u8>)> = Vec::new();
    while let Some(line) = lines.next_line() {
        if line.is_empty() {
            for (name, value) in fields {
                let value = HeaderValue::from_bytes(&value).map_err(|_| no_field(&value))?;
                response.headers_mut().append(name, value);
            }
            return Ok((response, message.slice_ref(lines.rest)));
        }
        match (line.first(), fields.last_mut()) {
            // A continuation line of the previous field (RFC 9112 §5.2).
            (Some(b' ' | b'\t'), Some((_, value))) => {
                value.push(b' ');
                value.extend_from_slice(line.trim_ascii());
            }
            _ => {
                let colon = line.iter().position(|byte| *byte == b':').ok_or_else(|| no_field(line))?;
                let (name, value) = line.split_at_checked(colon).ok_or_else(|| no_field(line))?;
                let name = HeaderName::from_bytes(name).map_err(|_| no_field(line))?;
                fields.push((name, value.get(1..).unwrap_or_default().trim_ascii().to_vec()));
            }
        }
    }
    Err("it has no empty line between head and body".to_owned())
}

fn no_field(line: &[u8]) -> String {
    format!("`{}` is not a field: write `name: value`", shown(line))
}

/// Returns the error for a file that does not begin with a status line.
fn no_status_line(line: &[u8]) -> String {
    if [&b"< "[..], b"> ", b"* ", b"{ [", b"} ["].iter().any(|prefix| line.starts_with(prefix)) {
        return format!("it is output of `curl -v`, which mixes its remarks into head and body; {SAVE_BY}");
    }
    if line.trim_ascii_start().starts_with(b"% Total") {
        return format!("it begins with curl's progress; {SAVE_BY}");
    }
    format!(
        "it begins with `{}` and not with a status line, such as `HTTP/1.1 200 OK` or `HTTP/2 200`; {SAVE_BY}, or give a \
         body alone by `--body`",
        shown(line)
    )
}

/// Returns a line for people, cut if it is long.
fn shown(line: &[u8]) -> String {
    const SHOWN_MAX: usize = 80;
    let text = String::from_utf8_lossy(line);
    let mut shown: String = text.chars().take(SHOWN_MAX).collect();
    if shown.len() < text.len() {
        shown.push('…');
    }
    printable(&shown).into_owned()
}

/// Returns the status in `HTTP/1.1 200 OK`, in `HTTP/2 200`, or in `HTTP/3 200 `.
fn status_of(line: &[u8]) -> Option<StatusCode> {
    let rest = line.strip_prefix(b"HTTP/")?;
    let (version, rest) = rest.split_at_checked(rest.iter().position(|byte| *byte == b' ')?)?;
    let is_version = version.first().is_some_and(u8::is_ascii_digit)
        && version.iter().all(|byte| byte.is_ascii_digit() || *byte == b'.');
    let (code, rest) = rest.get(1..)?.split_at_checked(3)?;
    let ends = rest.first().is_none_or(|byte| *byte == b' ');
    (is_version && ends).then(|| StatusCode::from_bytes(code).ok())?
}

/// Makes head and body agree. curl undoes framing and codings in the body, and leaves the head as it came.
fn settle_body(response: &mut Response<Bytes>, method: &Method, notes: &mut Vec<String>) {
    let status = response.status();
    if *method == Method::HEAD || !may_have_body(status) {
        if !response.body().is_empty() {
            let why = if *method == Method::HEAD {
                "to HEAD".to_owned()
            } else {
                format!("with {}", status.as_str())
            };
            notes.push(format!(
                "a response {why} has no body: {} are left out",
                bytes_of(response.body().len())
            ));
            response.body_mut().clear();
        }
        return;
    }
    let is_chunked = response.headers().contains_key(header::TRANSFER_ENCODING);
    if is_chunked && let Some(body) = dechunked(response.body()) {
        notes
            .push("its body has chunk sizes in it, as `curl --raw` prints it: they are taken out".to_owned());
        *response.body_mut() = body;
    }
    let fields = Fields::from(response.headers().clone());
    if !response.body().is_empty() && !is_encoded(response.body(), &fields) {
        let codings = fields.get(header::CONTENT_ENCODING).map_or(&b""[..], HeaderValue::as_bytes);
        notes.push(format!(
            "content-encoding is {}, but the body is not, as `curl --compressed` prints it: the field is left out",
            shown(codings)
        ));
        response.headers_mut().remove(header::CONTENT_ENCODING);
    } else if !is_chunked {
        notes.extend(wrong_length(response));
    }
    response.headers_mut().remove(header::CONTENT_LENGTH);
}

/// Returns a remark about a Content-Length that differs from the length of the body.
fn wrong_length(response: &Response<Bytes>) -> Option<String> {
    let value = response.headers().get(header::CONTENT_LENGTH)?;
    let length = response.body().len();
    if value.as_bytes() == length.to_string().as_bytes() {
        return None;
    }
    let hint = match length {
        0 => "; for a response to HEAD, which `curl -I` prints, add `--method HEAD`",
        _ => "",
    };
    Some(format!(
        "content-length is {}, but the file has {} of body: the filter is given what the file has{hint}",
        shown(value.as_bytes()),
        bytes_of(length)
    ))
}

fn bytes_of(count: usize) -> String {
    if count == 1 { "1 byte".to_owned() } else { format!("{count} bytes") }
}

/// Returns the content of a chunked body (RFC 9112 §7.1), or `None` if it is not chunked from its first byte to its last.
fn dechunked(body: &Bytes) -> Option<Bytes> {
    let mut lines = Lines { rest: body };
    let mut content = Vec::new();
    loop {
        let line = lines.next_line()?;
        let size = line.split(|byte| *byte == b';').next()?.trim_ascii();
        let size = usize::from_str_radix(str::from_utf8(size).ok()?, 16).ok()?;
        if size == 0 {
            break;
        }
        let (data, rest) = lines.rest.split_at_checked(size)?;
        content.extend_from_slice(data);
        lines.rest = rest;
        if !lines.next_line()?.is_empty() {
            return None;
        }
    }
    // Trailers, and the empty line after them.
    while !lines.next_line()?.is_empty() {}
    (!lines.rest.has_remaining()).then(|| content.into())
}

struct Lines<'a> {
    rest: &'a [u8],
}

impl<'a> Lines<'a> {
    fn next_line(&mut self) -> Option<&'a [u8]> {
        let end = self.rest.iter().position(|byte| *byte == b'\n')?;
        let (line, rest) = self.rest.split_at_checked(end)?;
        self.rest = rest.get(1..)?;
        Some(line.strip_suffix(b"\r").unwrap_or(line))
    }
}

#[cfg(test)]
mod tests;
