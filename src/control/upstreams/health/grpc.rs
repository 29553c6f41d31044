//! The health checking protocol of gRPC: one method, whose two messages have a field each.

use bytes::{BufMut as _, BytesMut};
use http::{HeaderValue, Method, header};

use super::request::{BODY_BYTES_MAX, Request, Response};
use crate::http::grpc::{CONTENT_TYPE, Deframer, GRPC_STATUS, Status, framed};
use crate::upstream::Endpoint;

const PATH: &str = "/grpc.health.v1.Health/Check";

/// The tag of `HealthCheckRequest.service`: field 1, a text.
const SERVICE: u8 = 0x0a;

/// The tag of `HealthCheckResponse.status`: field 1, a number.
const STATUS: u8 = 0x08;

/// The names of `HealthCheckResponse.ServingStatus`, by number.
const STATES: [&str; 4] = ["UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN"];

/// The state of health.
const SERVING: u64 = 1;

/// Returns the call that asks for the health of a service.
pub(super) fn check(endpoint: &Endpoint, service: &str) -> Request {
    let mut request = Request::new(endpoint, Method::POST, PATH.to_owned());
    request.headers.insert(header::CONTENT_TYPE, CONTENT_TYPE);
    request.headers.insert(header::TE, const { HeaderValue::from_static("trailers") });
    request.body = framed(&message(service));
    request
}

/// Returns `HealthCheckRequest` with this service. An empty text is left out, as proto3 has it.
fn message(service: &str) -> BytesMut {
    let mut message = BytesMut::new();
    if !service.is_empty() {
        message.put_u8(SERVICE);
        put_number(&mut message, service.len() as u64);
        message.put_slice(service.as_bytes());
    }
    message
}

/// Returns the reason if the response means anything but health.
pub(super) fn judge(response: &Response) -> Result<(), String> {
    if response.status != http::StatusCode::OK {
        return Err(format!("status {}", response.status.as_u16()));
    }
    // A call without a message has its status in the head.
    let in_trailers = response.trailers.as_ref().and_then(|trailers| trailers.get(GRPC_STATUS));
    let status = in_trailers.or(response.headers.get(GRPC_STATUS)).and_then(Status::parse);
    match status {
        None => return Err("no grpc-status".to_owned()),
        Some(Status::OK) => {}
        Some(status) => return Err(format!("grpc-status {}", status.known().name())),
    }
    let mut deframer = Deframer::new(BODY_BYTES_MAX);
    deframer.push(&response.body);
    let message = deframer.take().map_err(|error| error.to_string())?.ok_or("no message")?;
    match serving_status(&message).ok_or("a message that is no health")? {
        SERVING => Ok(()),
        state => Err(usize::try_from(state)
            .ok()
            .and_then(|state| STATES.get(state))
            .map_or_else(|| format!("status {state} of health"), |name| (*name).to_owned())),
    }
}

/// Returns the state in `HealthCheckResponse`, which is 0 if it is left out. Other fields are for later versions.
fn serving_status(mut message: &[u8]) -> Option<u64> {
    let mut state = 0;
    while !message.is_empty() {
        let tag = number(&mut message)?;
        match tag & 7 {
            0 => {
                let value = number(&mut message)?;
                state = if tag == u64::from(STATUS) { value } else { state };
            }
            1 => message = message.get(8..)?,
            2 => {
                let length = usize::try_from(number(&mut message)?).ok()?;
                message = message.get(length..)?;
            }
            5 => message = message.get(4..)?,
            _ => return None,
        }
    }
    Some(state)
}

/// Takes a number from the beginning of a message.
fn number(message: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = message.split_first()?;
        *message = rest;
        number |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(number);
        }
    }
    None
}

fn put_number(message: &mut BytesMut, mut number: u64) {
    while number >= 0x80 {
        message.put_u8(number.to_le_bytes()[0] | 0x80);
        number >>= 7;
    }
    message.put_u8(number.to_le_bytes()[0]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn request_names_the_service() {
        assert_eq!(message(""), "");
        assert_eq!(message("a.B"), "\x0a\x03a.B");
        let long = message(&"x".repeat(300));
        assert_eq!(long.get(..3), Some(&b"\x0a\xac\x02"[..]));
    }

    #[test]
    fn state_is_read_among_other_fields() {
        for (message, state) in [
            (&b"\x08\x01"[..], Some(1)),
            (b"", Some(0)),
            (b"\x08\x02", Some(2)),
            (b"\x12\x02ab\x08\x01\x1d1234", Some(1)),
            (b"\x1112345678\x08\x03", Some(3)),
            (b"\x08\x81\x01", Some(129)),
            (b"\x08", None),
            (b"\x12\x05ab", None),
            (b"\x0b", None),
            (b"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", None),
        ] {
            assert_eq!(serving_status(message), state, "{message:?}");
        }
    }
}
