//! The server. It prints its port, and serves until it is killed.

use std::convert::Infallible;
use std::error::Error;
use std::fs;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use tokio::net::TcpListener;
use tokio::sync::{Mutex, mpsc};
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;
use tonic::body::Body;
use tonic::metadata::{MetadataMap, MetadataValue};
use tonic::server::Grpc;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Identity, Server, ServerTlsConfig};
use tonic::{Code, Request, Response, Status, Streaming};
use tower::service_fn;

use crate::MESSAGE_MAX;
use crate::raw::Raw;

type Replies = ReceiverStream<Result<Bytes, Status>>;

/// Events that calls cause, and that other calls ask for.
struct Events {
    sender: mpsc::Sender<String>,
    receiver: Mutex<mpsc::Receiver<String>>,
}

impl Events {
    fn send(&self, event: String) {
        self.sender.try_send(event).unwrap();
    }

    async fn next(&self) -> Result<Response<Bytes>, Status> {
        let event = self.receiver.lock().await.recv().await;
        Ok(Response::new(event.unwrap_or_default().into()))
    }
}

/// Reports that a call was cancelled when it is dropped.
struct Held(Arc<Events>);

impl Drop for Held {
    fn drop(&mut self) {
        self.0.send("cancelled".to_owned());
    }
}

/// Serves, with TLS if there is a certificate with its key.
pub(crate) async fn run(identity: Option<(&str, &str)>) -> Result<(), Box<dyn Error>> {
    let (sender, receiver) = mpsc::channel(100);
    let events = Arc::new(Events { sender, receiver: Mutex::new(receiver) });
    let service = service_fn(move |request| {
        let events = Arc::clone(&events);
        async { Ok::<_, Infallible>(serve(events, request).await) }
    });
    let mut server = Server::builder();
    if let Some((certificate, key)) = identity {
        let identity = Identity::from_pem(fs::read(certificate)?, fs::read(key)?);
        server = server.tls_config(ServerTlsConfig::new().identity(identity))?;
    }
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("{}", listener.local_addr()?.port());
    server.serve_with_incoming(service, TcpIncoming::from(listener)).await?;
    Ok(())
}

async fn serve(events: Arc<Events>, request: http::Request<Body>) -> http::Response<Body> {
    let headers = request.headers().clone();
    let path = request.uri().path().to_owned();
    let mut grpc =
        Grpc::new(Raw).max_decoding_message_size(MESSAGE_MAX).max_encoding_message_size(MESSAGE_MAX);
    let Some(method) = path.strip_prefix("/probe.Probe/") else {
        return Status::unimplemented(path).into_http();
    };
    match method {
        "Upload" => grpc.client_streaming(service_fn(upload), request).await,
        "Download" => grpc.server_streaming(service_fn(async |message| download(message)), request).await,
        "Chat" => grpc.streaming(service_fn(async |messages| chat(messages)), request).await,
        "HoldStream" => {
            let hold = service_fn(async |_: Request<Bytes>| hold_stream(Arc::clone(&events)));
            grpc.server_streaming(hold, request).await
        }
        "Unary" | "Fail" | "Hold" | "NextEvent" => {
            let unary = service_fn(async |message: Request<Bytes>| match method {
                "Unary" => Ok(Response::new(message.into_inner())),
                "Fail" => Err(failure()),
                "Hold" => hold(&events, &headers).await,
                _ => events.next().await,
            });
            grpc.unary(unary, request).await
        }
        _ => Status::unimplemented(path).into_http(),
    }
}

async fn upload(messages: Request<Streaming<Bytes>>) -> Result<Response<Bytes>, Status> {
    let mut messages = messages.into_inner();
    let mut sizes = Vec::new();
    while let Some(message) = messages.message().await? {
        sizes.push(message.len());
    }
    Ok(Response::new(format!("{sizes:?}").into()))
}

fn download(message: Request<Bytes>) -> Result<Response<Replies>, Status> {
    let text = String::from_utf8_lossy(message.get_ref()).into_owned();
    let count: u32 = text.parse().map_err(|_| Status::invalid_argument(text))?;
    let (sender, replies) = mpsc::channel(1);
    tokio::spawn(async move {
        for number in 0..count {
            if sender.send(Ok(number.to_string().into())).await.is_err() {
                return;
            }
        }
        let mut late = MetadataMap::new();
        late.insert("x-late", MetadataValue::from_static("text"));
        late.insert_bin("x-late-bin", MetadataValue::from_bytes(b"\x00\xff"));
        // Trailers that are not an error's.
        let _sent = sender.send(Err(Status::with_metadata(Code::Ok, "", late))).await;
    });
    Ok(Response::new(replies.into()))
}

fn chat(
    messages: Request<Streaming<Bytes>>,
) -> Result<Response<impl tokio_stream::Stream<Item = Result<Bytes, Status>>>, Status> {
    let replies =
        messages.into_inner().map(|message| message.map(|message| [b"re: ", &*message].concat().into()));
    let mut response = Response::new(replies);
    response.metadata_mut().insert("x-early", MetadataValue::from_static("yes"));
    Ok(response)
}

fn failure() -> Status {
    let bytes: Vec<u8> = (0..=255).collect();
    let mut metadata = MetadataMap::new();
    metadata.insert_bin("x-detail-bin", MetadataValue::from_bytes(&bytes));
    Status::with_metadata(Code::NotFound, "kein Maß für „%“ \u{1f600}", metadata)
}

/// Never replies. Reports what was left of the deadline, and that the call was cancelled.
async fn hold(events: &Arc<Events>, headers: &HeaderMap) -> Result<Response<Bytes>, Status> {
    let left = headers.get("grpc-timeout").and_then(|timeout| timeout.to_str().ok());
    let left = left.map_or(Some("None".to_owned()), |timeout| seconds(timeout).map(|left| left.to_string()));
    events.send(format!("arrived {}", left.ok_or_else(|| Status::internal("no timeout"))?));
    let _held = Held(Arc::clone(events));
    std::future::pending().await
}

fn hold_stream(events: Arc<Events>) -> Result<Response<Replies>, Status> {
    events.send("arrived".to_owned());
    let (sender, replies) = mpsc::channel(1);
    tokio::spawn(async move {
        let _held = Held(events);
        for number in 0.. {
            if sender.send(Ok(Bytes::from(number.to_string()))).await.is_err() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    Ok(Response::new(replies.into()))
}

/// Parses a value of `grpc-timeout`.
fn seconds(timeout: &str) -> Option<f64> {
    let (digits, unit) = timeout.split_at_checked(timeout.len().checked_sub(1)?)?;
    let one = match unit {
        "H" => 3600.0,
        "M" => 60.0,
        "S" => 1.0,
        "m" => 1e-3,
        "u" => 1e-6,
        "n" => 1e-9,
        _ => return None,
    };
    Some(digits.parse::<f64>().ok()? * one)
}
