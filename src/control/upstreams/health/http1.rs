//! An exchange over HTTP/1.1.

use std::pin::Pin;

use bytes::BytesMut;
use http::header;
use http_body::Body as _;
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;

use super::connection::Io;
use super::request::{HEAD_BYTES_MAX, Request, Response, extend};
use crate::http::fields::Fields;

/// Sends a request on a new connection and returns the response. The connection ends with it.
///
/// # Errors
/// Returns the reason why there is no response.
pub(super) async fn exchange(stream: Box<dyn Io>, request: &Request) -> Result<Response, String> {
    let mut builder = http1::Builder::new();
    builder.max_buf_size(HEAD_BYTES_MAX);
    let (mut sender, connection) = builder.handshake(TokioIo::new(stream)).await.map_err(reason)?;
    let head = http::Request::builder()
        .method(request.method.clone())
        .uri(&request.target)
        .header(header::HOST, &request.host)
        .header(header::CONNECTION, "close");
    let head = request.headers.iter().fold(head, |head, (name, value)| head.header(name, value));
    let sent = head.body(String::new()).map_err(|error| error.to_string())?;
    let answer = async {
        let (head, mut incoming) = sender.send_request(sent).await.map_err(reason)?.into_parts();
        let body = read(&mut incoming).await?.freeze();
        Ok(Response { status: head.status, headers: Fields::new(), body, trailers: None })
    };
    let mut answer = std::pin::pin!(answer);
    tokio::select! {
        answer = &mut answer => answer,
        // A connection that ends may leave a response that is not read yet.
        _ended = connection => answer.await,
    }
}

const CLOSED: &str = "it closed the connection in place of a response";

async fn read(incoming: &mut Incoming) -> Result<BytesMut, String> {
    let mut body = BytesMut::new();
    while let Some(frame) = std::future::poll_fn(|cx| Pin::new(&mut *incoming).poll_frame(cx)).await {
        if let Ok(data) = frame.map_err(reason)?.into_data()
            && !extend(&mut body, &data)
        {
            break;
        }
    }
    Ok(body)
}

#[allow(clippy::needless_pass_by_value, reason = "for map_err")]
fn reason(error: hyper::Error) -> String {
    if error.is_incomplete_message() {
        return CLOSED.to_owned();
    }
    let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}"));
    format!("{error}{}", cause.unwrap_or_default())
}
