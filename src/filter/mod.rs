//! Filters: code that inspects and changes a request and its response in transit, independent of the ABI it is written
//! for.
//!
//! A route has a [`Chain`]. For each exchange the chain opens a [`Session`]: a [`FilteredExchange`], which all filters
//! see and change, and a [`FilterContext`] for each filter, which knows how much of the message that filter has let
//! through.
//! Bodies are pulled through the filters, one [`FilteredBody`](body) inside another, so backpressure is the same as
//! without filters.

mod body;
mod chain;
pub(crate) mod coding;
mod context;
mod contract;
pub(crate) mod engine;
mod exchange;
mod fields;
pub(crate) mod proxy_wasm;

pub(crate) use chain::{Chain, FilterWork, Session};
pub(crate) use context::{Callbacks, Filter, FilterContext, Part, SpliceError};
pub(crate) use contract::{
    Action, ByDirection, Direction, Fault, HeadAccess, Interests, PartsOfInterest, Policy,
};
pub(crate) use exchange::{
    End, FilteredExchange, LocalResponse, MAP_BYTES_MAX, RequestHead, RequestInfo, ResponseHead,
};
pub(crate) use fields::{field_name, field_value};
