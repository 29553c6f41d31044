//! Requests that run on a shared connection of another worker.

use std::pin::pin;
use std::rc::Rc;
use std::sync::atomic::Ordering::SeqCst;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::SendError;

use super::exchange::{Received, begin, receive};
use super::pool::Lease;
use super::pool::shared::StreamLease;
use super::request::{Affinity, SendOptions, UpstreamRequest};
use crate::config::HeaderCase;
use crate::http::body::Body;
use crate::http::error::Error;
use crate::http::fields::Fields;
use crate::http::interim::{Interim, InterimSink};
use crate::net::drain::DrainSignal;
use crate::net::timer::Timer;
use crate::upstream::transport::Transport;
use crate::upstream::transport::options::AddressedRequest;
use crate::upstream::transport::remote::{RemoteRequest, RemoteStream, Reply};
use crate::upstream::transport::result::{ExchangeFailure, ReceivedHead};

thread_local! {
    /// The requests of other workers that run on this one.
    static GUESTS: DrainSignal = DrainSignal::default();
}

/// Waits until no request of another worker runs on this one.
pub(crate) async fn guests_left() {
    GUESTS.with(DrainSignal::clone).empty().await;
}

/// Returns the transport of a lease whose connection another worker has.
pub(super) fn transport(lease: StreamLease) -> (Transport, Lease) {
    let submit = move |request: RemoteRequest| {
        let (pool, worker) = (lease.pool().clone(), lease.worker());
        let job = Job { parts: Some((lease, request)) };
        pool.run_on(worker, Box::new(move || job.run()))
    };
    (Transport::Remote(RemoteStream::new(Box::new(submit))), Lease::remote())
}

/// A request on its way to the worker that has the connection. Dropped on the way, it goes again elsewhere: nothing was sent.
struct Job {
    parts: Option<(StreamLease, RemoteRequest)>,
}

impl Job {
    fn run(mut self) {
        if let Some((lease, request)) = self.parts.take() {
            tokio::task::spawn_local(serve(lease, request));
        }
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        if let Some((_, request)) = self.parts.take() {
            // There is room: it is the first reply.
            drop(request.replies.try_send(Reply::Failed(Box::new(unsent()))));
        }
    }
}

/// Sends a request of another worker on a connection of this one, and the response back. It ends when that worker wants no more.
async fn serve(lease: StreamLease, request: RemoteRequest) {
    let _guest = GUESTS.with(DrainSignal::guard);
    let ping_interval = lease.pool().settings().ping_interval;
    let (transport, lease) = match lease.here() {
        Ok(leased) => leased,
        Err(_gone) => return drop(request.replies.send(Reply::Failed(Box::new(unsent()))).await),
    };
    let Transport::Shared(connection) = &transport else { return };
    let (connection, reads) = (connection.clone(), connection.reads());
    let (replies, is_late) = (request.replies.clone(), request.is_late.clone());
    let serving = pin!(exchange((transport, lease), request, ping_interval));
    tokio::select! {
        biased;
        () = replies.closed() => {
            if is_late.load(SeqCst) {
                connection.suspect(reads);
            }
        }
        () = serving => {}
    }
}

/// Returns the failure of a request that found no connection.
fn unsent() -> ExchangeFailure<()> {
    ExchangeFailure {
        error: Error::UpstreamRefused,
        unanswered: true,
        unsent: true,
        unprocessed: true,
        starved: false,
        broken: None,
        body: (),
    }
}

async fn exchange(leased: (Transport, Lease), request: RemoteRequest, ping_interval: Option<Duration>) {
    let RemoteRequest { method, target, scheme, mut headers, upgrade, timeouts, body, replies, .. } = request;
    let timer = Timer::default();
    let interim = Interim::new(Rc::new(Forwarded(replies.clone())));
    let options = SendOptions {
        timeouts: &timeouts,
        retry: None,
        hedge: None,
        keeping: None,
        done_by: None, // the other worker watches it
        interim: Some(&interim),
        timer: &timer,
    };
    let upstream_request = UpstreamRequest {
        is_first: false,
        affinity: Affinity::None, // its connection is chosen
        method: &method,
        target: &target,
        headers: &mut headers,
        endpoint_host: false,
        keep_alive: true,
        header_case: HeaderCase::Lower,
        upgrade,
    };
    let addressed = AddressedRequest { request: &upstream_request, target: &target, scheme };
    let begun = begin(leased, addressed, &options, Body::boxed(body), None, ping_interval);
    let received = match receive(begun, &options, None, None).await {
        Ok(received) => received,
        Err(failure) => {
            return drop(replies.send(Reply::Failed(Box::new(failure.for_relay()))).await);
        }
    };
    // If the other worker no longer listens, the exchange ends with this function.
    drop(send_response(received, &replies).await);
}

async fn send_response(received: Received, replies: &mpsc::Sender<Reply>) -> Result<(), SendError<Reply>> {
    let Received { status, version, headers, mut body, .. } = received;
    let complete = match &body {
        Body::Empty => Some(Bytes::new()),
        Body::Full(bytes) => Some(bytes.clone()),
        Body::Request(_) | Body::Boxed(_) => None,
    };
    let is_complete = complete.is_some();
    let head = Box::new(ReceivedHead { status, version, headers });
    replies.send(Reply::Head(head, body.size_hint(), complete)).await?;
    if is_complete {
        return Ok(());
    }
    loop {
        let reply = match body.frame().await {
            Some(Ok(frame)) => Reply::Frame(frame),
            Some(Err(error)) => return replies.send(Reply::Broken(error)).await,
            None => return replies.send(Reply::End).await,
        };
        // The request may still be on its way while the response waits for room.
        let mut sending = pin!(replies.send(reply));
        let sent = std::future::poll_fn(|cx| match body.poll_background(cx) {
            Poll::Ready(error) => Poll::Ready(Err(error)),
            Poll::Pending => sending.as_mut().poll(cx).map(Ok),
        });
        match sent.await {
            Ok(sent) => sent?,
            Err(error) => return replies.send(Reply::Broken(error)).await,
        }
    }
}

/// Sends interim responses to the other worker. It drops those for which there is no room: they are hints.
struct Forwarded(mpsc::Sender<Reply>);

impl InterimSink for Forwarded {
    fn send(&self, status: StatusCode, headers: &Fields) {
        drop(self.0.try_send(Reply::Interim(status, headers.clone())));
    }
}
