//! Fields as people write them, and heads in the form of `curl -i`.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, header};

use crate::http::message::may_have_body;

/// Parses `name: value`.
pub(super) fn field(text: &str) -> Result<(HeaderName, HeaderValue), String> {
    let wrong = || format!("`{}` is not a field: write `name: value`", text.escape_debug());
    let (name, value) = text.split_once(':').ok_or_else(wrong)?;
    let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| wrong())?;
    Ok((name, HeaderValue::from_bytes(value.trim().as_bytes()).map_err(|_| wrong())?))
}

/// Writes the head of a request, the empty line included.
pub(super) fn request_head(request: &Request<Bytes>) -> Vec<u8> {
    let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
    let first = format!("{} {path} HTTP/1.1\n", request.method());
    let length = (!request.body().is_empty()).then(|| request.body().len());
    written(first, request.headers(), length)
}

/// Writes the head of a response, the empty line included.
pub(super) fn response_head(response: &Response<Bytes>, method: &Method) -> Vec<u8> {
    let status = response.status();
    let first = format!("HTTP/1.1 {} {}", status.as_str(), status.canonical_reason().unwrap_or_default());
    let has_body = *method != Method::HEAD && may_have_body(status);
    written(format!("{}\n", first.trim_end()), response.headers(), has_body.then(|| response.body().len()))
}

/// Returns a head with the actual length of its body.
fn written(first: String, headers: &HeaderMap, length: Option<usize>) -> Vec<u8> {
    let mut text = first.into_bytes();
    for (name, value) in
        headers.iter().filter(|(name, _)| length.is_none() || *name != header::CONTENT_LENGTH)
    {
        for part in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\n"] {
            text.extend_from_slice(part);
        }
    }
    if let Some(length) = length {
        text.extend_from_slice(format!("content-length: {length}\n").as_bytes());
    }
    text.push(b'\n');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_written_with_the_length_that_its_body_has() {
        let mut response = Response::new(Bytes::from_static(b"hello"));
        response.headers_mut().insert("x-a", HeaderValue::from_static("b"));
        response.headers_mut().insert("content-length", HeaderValue::from_static("7"));
        let text = |method| String::from_utf8(response_head(&response, &method)).unwrap();
        assert_eq!(text(Method::GET), "HTTP/1.1 200 OK\nx-a: b\ncontent-length: 5\n\n");
        assert_eq!(text(Method::HEAD), "HTTP/1.1 200 OK\nx-a: b\ncontent-length: 7\n\n");
        let request = Request::post("/a?b").body(Bytes::new()).unwrap();
        assert_eq!(request_head(&request), b"POST /a?b HTTP/1.1\n\n");
    }
}
