//! The gRPC calls of an instance.

use std::collections::HashMap;

use foldhash::fast::FixedState;
use tokio::task::AbortHandle;

use super::Host;
use crate::filter::proxy_wasm::abi::{Answer, Status};
use crate::filter::proxy_wasm::grpc_calls::{GrpcCall, GrpcEvent, Messages, Waiting};

/// The calls in progress by their tokens, and the state of the running callback.
#[derive(Default)]
pub(in crate::filter::proxy_wasm) struct GrpcCalls {
    open: HashMap<u32, GrpcCall, FixedState>,
    /// The part of a reply that the running callback delivers.
    pub(in crate::filter::proxy_wasm) event: Option<GrpcEvent>,
    /// The number and the message of the status by which a call has ended last.
    pub(in crate::filter::proxy_wasm) status: (u8, String),
}

impl GrpcCalls {
    /// Returns true if the call has neither ended nor been cancelled.
    pub(in crate::filter::proxy_wasm) fn is_open(&self, token: u32) -> bool {
        self.open.contains_key(&token)
    }

    /// Returns the messages of a stream; `None` for a unary call.
    pub(in crate::filter::proxy_wasm) fn messages(&self, token: u32) -> Answer<Option<&Messages>> {
        Ok(self.open.get(&token).ok_or(Status::NotFound)?.messages.as_ref())
    }

    /// Attaches the task of a call. If the call was cancelled, so is the task.
    pub(in crate::filter::proxy_wasm) fn attach(&mut self, token: u32, task: AbortHandle) {
        match self.open.get_mut(&token) {
            Some(call) => call.task = Some(task),
            None => task.abort(),
        }
    }

    /// Stops counting a call among those that its exchange waits for, and takes no more messages for it.
    pub(in crate::filter::proxy_wasm) fn is_answered(&mut self, token: u32) {
        if let Some(call) = self.open.get_mut(&token) {
            call.waiting = None;
            if let Some(messages) = &call.messages {
                messages.end();
            }
        }
    }
}

impl Host {
    /// Adds a call of the effective context, if there is room for one more. Returns its token.
    pub(in crate::filter::proxy_wasm) fn begin_grpc(&mut self, messages: Option<Messages>) -> Option<u32> {
        let token = self.begin_call()?;
        let waiting = self.filter_context().map(Waiting::new);
        let call = GrpcCall { context: self.effective, messages, waiting, task: None };
        self.grpc.open.insert(token, call);
        Some(token)
    }

    /// Removes a call, and cancels it unless it has ended. Returns false if there is none.
    pub(in crate::filter::proxy_wasm) fn end_grpc(&mut self, token: u32) -> bool {
        let is_there = self.grpc.open.remove(&token).is_some();
        if is_there {
            self.end_call();
        }
        is_there
    }

    /// Cancels the calls that a context has made.
    pub(super) fn cancel_grpc_of(&mut self, context: u32) {
        let before = self.grpc.open.len();
        self.grpc.open.retain(|_, call| call.context != context);
        for _ in self.grpc.open.len()..before {
            self.end_call();
        }
    }
}
