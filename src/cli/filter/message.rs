//! Messages as people write and read them: as `curl -i` prints them.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, header};

use crate::http1::may_have_body;

/// Reads `name: value`.
pub(super) fn field(text: &str) -> Result<(HeaderName, HeaderValue), String> {
    let wrong = || format!("`{}` is no field: write `name: value`", text.escape_debug());
    let (name, value) = text.split_once(':').ok_or_else(wrong)?;
    let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| wrong())?;
    Ok((name, HeaderValue::from_bytes(value.trim().as_bytes()).map_err(|_| wrong())?))
}

/// Reads a response: a head, an empty line, and a body, which is all that is left. Lines end with or without CR. Heads of
/// interim responses before it, which `curl -i` shows too, are left out.
pub(super) fn response(message: &Bytes) -> Result<Response<Bytes>, String> {
    let mut rest = message.clone();
    loop {
        let (response, after) = head(&rest)?;
        if !response.status().is_informational() || after.is_empty() {
            return Ok(response.map(|()| after));
        }
        rest = after;
    }
}

fn head(message: &Bytes) -> Result<(Response<()>, Bytes), String> {
    let mut lines = Lines { rest: message };
    let first = lines.next_line().unwrap_or_default();
    let mut response = Response::new(());
    *response.status_mut() = status(&first).ok_or_else(|| {
        format!(
            "it begins with `{}` and not with a status line, such as `HTTP/1.1 200 OK`",
            first.escape_debug()
        )
    })?;
    while let Some(line) = lines.next_line() {
        if line.is_empty() {
            return Ok((response, message.slice_ref(lines.rest)));
        }
        let (name, value) = field(&line)?;
        response.headers_mut().append(name, value);
    }
    Err("it has no empty line, behind which its body would begin".to_owned())
}

/// The status in `HTTP/1.1 200 OK`, or in `HTTP/2 200`.
fn status(line: &str) -> Option<StatusCode> {
    let (version, rest) = line.split_once(' ')?;
    let code = rest.split(' ').next()?;
    version.starts_with("HTTP/").then(|| code.parse().ok())?
}

struct Lines<'a> {
    rest: &'a [u8],
}

impl Lines<'_> {
    fn next_line(&mut self) -> Option<String> {
        let end = self.rest.iter().position(|byte| *byte == b'\n')?;
        let (line, rest) = self.rest.split_at_checked(end)?;
        self.rest = rest.get(1..)?;
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        Some(String::from_utf8_lossy(line).into_owned())
    }
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

/// A head with the length that its body has.
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

    fn read(message: &str) -> Result<(u16, Vec<(String, String)>, String), String> {
        let response = response(&Bytes::copy_from_slice(message.as_bytes()))?;
        let fields = response.headers().iter();
        let fields =
            fields.map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned())).collect();
        Ok((response.status().as_u16(), fields, String::from_utf8(response.body().to_vec()).unwrap()))
    }

    #[test]
    fn a_response_is_read_as_curl_prints_it() {
        let a_b = vec![("a".to_owned(), "b: c".to_owned())];
        for (message, expected) in [
            ("HTTP/1.1 200 OK\r\nA: b: c\r\n\r\none\r\n\r\ntwo", (200, a_b.clone(), "one\r\n\r\ntwo")),
            ("HTTP/2 404 \na:b: c \n\n", (404, a_b.clone(), "")),
            ("HTTP/1.0 503\n\n\n", (503, vec![], "\n")),
            ("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\na: b: c\r\n\r\nx", (200, a_b, "x")),
            ("HTTP/1.1 101 Switching Protocols\r\n\r\n", (101, vec![], "")),
        ] {
            let (status, fields, body) = expected;
            assert_eq!(read(message), Ok((status, fields, body.to_owned())), "{message:?}");
        }
    }

    #[test]
    fn what_is_no_response_is_told_apart() {
        for (message, says) in [
            ("", "status line"),
            ("{\"a\": 1}\n\n", "status line"),
            ("HTTP/1.1 2xx OK\n\n", "status line"),
            ("HTTP/1.1 200 OK\nno field\n\n", "`no field`"),
            ("HTTP/1.1 200 OK\n: b\n\n", "`: b`"),
            ("HTTP/1.1 200 OK\na: b\n", "empty line"),
        ] {
            let error = read(message).unwrap_err();
            assert!(error.contains(says), "{message:?}: {error}");
        }
    }

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
