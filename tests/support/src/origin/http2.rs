//! Upstream servers that speak HTTP/2.

use std::sync::Arc;

use bytes::Bytes;
use h2::RecvStream;
use h2::server::{Builder, SendResponse};
use http::{HeaderMap, Request, Response, StatusCode};
use tokio::task::JoinSet;

use super::{Connection, Origin, OriginBuilder};

/// A request on a stream, and the way to respond.
#[derive(Debug)]
pub struct Http2Exchange {
    /// The number of its connection, counted from 0 in the order of accepting.
    pub connection: usize,
    /// The request. Its body is unread.
    pub request: Request<RecvStream>,
    /// The way to respond.
    pub responder: SendResponse<Bytes>,
}

impl Http2Exchange {
    /// Reads the request's body to its end. Returns `None` if the client resets the stream or the connection ends.
    pub async fn read_body(&mut self) -> Option<Vec<u8>> {
        let mut body = Vec::new();
        let stream = self.request.body_mut();
        while let Some(data) = stream.data().await {
            let data = data.ok()?;
            stream.flow_control().release_capacity(data.len()).ok()?;
            body.extend_from_slice(&data);
        }
        Some(body)
    }

    /// Returns the request's trailers, once its body was read.
    pub async fn trailers(&mut self) -> HeaderMap {
        self.request.body_mut().trailers().await.ok().flatten().unwrap_or_default()
    }

    /// Responds with 200 and this body. A client that has gone is no error.
    pub fn respond(mut self, body: impl Into<Bytes>) {
        let body = body.into();
        let head = Response::builder().status(StatusCode::OK).body(()).unwrap();
        if let Ok(mut stream) = self.responder.send_response(head, body.is_empty())
            && !body.is_empty()
        {
            drop(stream.send_data(body, true));
        }
    }

    /// Waits until the client resets the stream, or the connection ends. Returns the code.
    pub async fn wait_reset(&mut self) -> Option<h2::Reason> {
        std::future::poll_fn(|cx| self.responder.poll_reset(cx)).await.ok()
    }
}

impl Connection {
    /// Serves HTTP/2 until the connection ends: each request in a task of its own.
    pub async fn http2<F, Fut>(self, settings: &Builder, serve: F)
    where
        F: Fn(Http2Exchange) -> Fut,
        Fut: Future<Output = ()> + Send + 'static,
    {
        let number = self.number();
        let Self { wire, opened } = self;
        // A client that goes away in the middle of the preface is no error either.
        let Ok(mut connection) = settings.handshake::<_, Bytes>(wire.into_transport()).await else { return };
        let mut serving = JoinSet::new();
        while let Some(Ok((request, responder))) = connection.accept().await {
            serving.spawn(serve(Http2Exchange { connection: number, request, responder }));
            while serving.try_join_next().is_some() {}
        }
        drop((connection, opened));
        // They may have something to tell the test.
        while serving.join_next().await.is_some() {}
    }
}

impl Origin {
    /// Returns an origin that speaks HTTP/2 from the first byte and runs `serve` for each request.
    #[must_use]
    pub fn http2<F, Fut>(serve: F) -> Self
    where
        F: Fn(Http2Exchange) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        Self::builder().http2(Builder::new(), serve)
    }
}

impl OriginBuilder {
    /// Builds an origin like [`Origin::http2`].
    #[must_use]
    pub fn http2<F, Fut>(self, settings: Builder, serve: F) -> Origin
    where
        F: Fn(Http2Exchange) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        let shared = Arc::new((settings, serve));
        self.script(move |connection| {
            let shared = Arc::clone(&shared);
            async move { connection.http2(&shared.0, &shared.1).await }
        })
    }
}
