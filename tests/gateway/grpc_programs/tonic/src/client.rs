//! The client. It prints `done`, or fails.

use std::error::Error;
use std::fs;
use std::time::Duration;

use bytes::Bytes;
use http::uri::PathAndQuery;
use tokio::sync::mpsc;
use tokio_stream::Stream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::client::Grpc;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint};
use tonic::{Code, Request, Response, Status, Streaming};

use crate::MESSAGE_MAX;
use crate::raw::Raw;

/// The time for a call, which is longer than anything takes on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(50);

struct Client(Channel);

/// Runs a case against a target, with TLS if there is an authority.
pub(crate) async fn run(case: &str, target: &str, ca: Option<&str>) -> Result<(), Box<dyn Error>> {
    let scheme = if ca.is_some() { "https" } else { "http" };
    let mut endpoint = Endpoint::from_shared(format!("{scheme}://{target}"))?;
    if let Some(ca) = ca {
        let tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(fs::read(ca)?));
        endpoint = endpoint.tls_config(tls)?;
    }
    let client = Client(endpoint.connect_lazy());
    match case {
        "kinds" => client.kinds().await?,
        "errors" => client.errors().await,
        "deadline" => client.deadline().await?,
        "cancel" => client.cancel().await?,
        "large" => client.large().await?,
        "down" => client.down().await,
        _ => return Err(case.into()),
    }
    println!("done");
    Ok(())
}

fn grpc(channel: &Channel) -> Grpc<Channel> {
    Grpc::new(channel.clone()).max_decoding_message_size(MESSAGE_MAX).max_encoding_message_size(MESSAGE_MAX)
}

fn text(message: &Bytes) -> &str {
    std::str::from_utf8(message).unwrap()
}

impl Client {
    /// Returns a client that is ready for a call.
    async fn ready(&self) -> Result<Grpc<Channel>, Status> {
        let mut grpc = grpc(&self.0);
        grpc.ready().await.map_err(|error| Status::from_error(error.into()))?;
        Ok(grpc)
    }

    async fn unary(&self, path: &'static str, request: Request<Bytes>) -> Result<Bytes, Status> {
        let mut grpc = self.ready().await?;
        Ok(grpc.unary(request, PathAndQuery::from_static(path), Raw).await?.into_inner())
    }

    async fn echo(&self, message: &Bytes) -> Result<Bytes, Status> {
        self.unary("/probe.Probe/Unary", timed(message.clone())).await
    }

    async fn event(&self) -> Result<String, Status> {
        let event = self.unary("/probe.Probe/NextEvent", timed(Bytes::new())).await?;
        Ok(text(&event).to_owned())
    }

    async fn hold(&self, timeout: Option<Duration>) -> Result<Bytes, Status> {
        let mut request = Request::new(Bytes::new());
        if let Some(timeout) = timeout {
            request.set_timeout(timeout);
        }
        self.unary("/probe.Probe/Hold", request).await
    }

    async fn chat(
        &self,
        messages: impl Stream<Item = Bytes> + Send + 'static,
    ) -> Result<Response<Streaming<Bytes>>, Status> {
        let path = PathAndQuery::from_static("/probe.Probe/Chat");
        self.ready().await?.streaming(timed(messages), path, Raw).await
    }

    async fn download(&self, path: &'static str, message: &'static str) -> Result<Streaming<Bytes>, Status> {
        let request = timed(Bytes::from_static(message.as_bytes()));
        let mut grpc = self.ready().await?;
        Ok(grpc.server_streaming(request, PathAndQuery::from_static(path), Raw).await?.into_inner())
    }

    async fn kinds(&self) -> Result<(), Status> {
        for message in ["", "hello"] {
            assert_eq!(self.echo(&message.into()).await?, message);
        }

        let messages = tokio_stream::iter([0, 1, 100_000].map(|size| Bytes::from(vec![b'r'; size])));
        let upload = PathAndQuery::from_static("/probe.Probe/Upload");
        let reply = self.ready().await?.client_streaming(timed(messages), upload, Raw).await?.into_inner();
        assert_eq!(reply, "[0, 1, 100000]");

        let mut replies = self.download("/probe.Probe/Download", "1000").await?;
        for number in 0..1000 {
            assert_eq!(replies.message().await?.unwrap(), number.to_string());
        }
        assert_eq!(replies.message().await?, None);
        let late = replies.trailers().await?.unwrap();
        assert_eq!(late.get("x-late").unwrap(), "text");
        assert_eq!(late.get_bin("x-late-bin").unwrap().to_bytes().unwrap(), &b"\x00\xff"[..]);

        // A reply arrives before the next message is sent.
        let (sender, messages) = mpsc::channel(1);
        let response = self.chat(ReceiverStream::new(messages)).await?;
        assert_eq!(response.metadata().get("x-early").unwrap(), "yes");
        let mut replies = response.into_inner();
        for number in 0..100 {
            sender.send(Bytes::from(number.to_string())).await.unwrap();
            assert_eq!(replies.message().await?.unwrap(), format!("re: {number}"));
        }
        drop(sender);
        assert_eq!(replies.message().await?, None);
        Ok(())
    }

    async fn errors(&self) {
        let error = self.unary("/probe.Probe/Fail", timed(Bytes::new())).await.unwrap_err();
        assert_eq!((error.code(), error.message()), (Code::NotFound, "kein Maß für „%“ \u{1f600}"));
        let detail = error.metadata().get_bin("x-detail-bin").unwrap().to_bytes().unwrap();
        assert!(detail.iter().copied().eq(0..=255), "{detail:?}");
        // The server's own, and the gateway's for a path without a route.
        let error = self.unary("/probe.Probe/Nothing", timed(Bytes::new())).await.unwrap_err();
        assert_eq!(error.code(), Code::Unimplemented, "{error:?}");
        assert!(!error.metadata().contains_key("x-gateway-error"), "{error:?}");
        let error = self.unary("/other.Service/Call", timed(Bytes::new())).await.unwrap_err();
        assert_eq!(error.code(), Code::Unimplemented, "{error:?}");
        assert!(error.message().starts_with("route.none: "), "{error:?}");
    }

    async fn down(&self) {
        let error = self.echo(&Bytes::new()).await.unwrap_err();
        assert_eq!(error.code(), Code::Unavailable, "{error:?}");
        assert!(error.message().starts_with("upstream.connect: "), "{error:?}");
    }

    async fn deadline(&self) -> Result<(), Status> {
        let error = self.hold(Some(Duration::from_secs(1))).await.unwrap_err();
        // tonic's own for the end of its timer, or the gateway's, if that is the first to arrive.
        assert!(matches!(error.code(), Code::Cancelled | Code::DeadlineExceeded), "{error:?}");
        let event = self.event().await?;
        let left: f64 = event.strip_prefix("arrived ").unwrap().parse().unwrap();
        assert!(left <= 1.0, "{event}");
        assert_eq!(self.event().await?, "cancelled");
        // Other calls have their own time.
        assert_eq!(self.echo(&"hello".into()).await?, "hello");
        Ok(())
    }

    async fn cancel(&self) -> Result<(), Status> {
        for _ in 0..20 {
            tokio::select! {
                reply = self.hold(None) => panic!("{reply:?}"),
                event = self.event() => assert_eq!(event?, "arrived None"),
            }
            assert_eq!(self.event().await?, "cancelled");
        }
        let mut replies = self.download("/probe.Probe/HoldStream", "").await?;
        assert_eq!(replies.message().await?.unwrap(), "0");
        drop(replies);
        assert_eq!((&*self.event().await?, &*self.event().await?), ("arrived", "cancelled"));
        Ok(())
    }

    async fn large(&self) -> Result<(), Status> {
        let message: Bytes = (0..=255).cycle().take(4 << 20).collect::<Vec<u8>>().into();
        let replies = tokio::try_join!(self.echo(&message), self.echo(&message), self.echo(&message))?;
        assert!(replies == (message.clone(), message.clone(), message.clone()));
        let (sender, messages) = mpsc::channel(1);
        let mut chat = self.chat(ReceiverStream::new(messages)).await?.into_inner();
        for _ in 0..3 {
            sender.send(message.clone()).await.unwrap();
            let reply = chat.message().await?.unwrap();
            assert!(reply.strip_prefix(b"re: ") == Some(&message), "{} bytes", reply.len());
        }
        drop(sender);
        assert_eq!(chat.message().await?, None);
        Ok(())
    }
}

/// Makes a request of a message, or of a stream of them, that has time enough.
fn timed<M>(message: M) -> Request<M> {
    let mut request = Request::new(message);
    request.set_timeout(PATIENCE);
    request
}
