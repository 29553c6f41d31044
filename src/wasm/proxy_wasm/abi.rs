//! The numbers of the proxy-wasm ABI (0.1.0, 0.2.0, 0.2.1).

use crate::filter::Direction;

/// What a host function answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i32)]
pub(crate) enum Status {
    Ok = 0,
    NotFound = 1,
    BadArgument = 2,
    InvalidMemoryAccess = 6,
    Empty = 7,
    CasMismatch = 8,
    InternalFailure = 10,
    Unimplemented = 12,
}

/// A failed host function: a status for the guest, or a trap.
#[derive(Debug)]
pub(crate) enum Failure {
    Status(Status),
    Trap(wasmtime::Error),
}

impl From<Status> for Failure {
    fn from(status: Status) -> Self {
        Self::Status(status)
    }
}

impl From<wasmtime::Error> for Failure {
    fn from(error: wasmtime::Error) -> Self {
        Self::Trap(error)
    }
}

/// What a host function comes to: see [`answer`].
pub(crate) type Answer<T = ()> = Result<T, Failure>;

/// The number that the guest gets.
pub(crate) fn answer(result: Answer) -> wasmtime::Result<i32> {
    match result {
        Ok(()) => Ok(Status::Ok as i32),
        Err(Failure::Status(status)) => Ok(status as i32),
        Err(Failure::Trap(error)) => Err(error),
    }
}

/// What a buffer function is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BufferKind {
    Body(Direction),
    CallResponseBody,
    VmConfiguration,
    PluginConfiguration,
    CallData,
}

impl BufferKind {
    pub(crate) fn from_number(number: u32) -> Option<Self> {
        Some(match number {
            0 => Self::Body(Direction::Request),
            1 => Self::Body(Direction::Response),
            4 => Self::CallResponseBody,
            6 => Self::VmConfiguration,
            7 => Self::PluginConfiguration,
            8 => Self::CallData,
            _ => return None,
        })
    }
}

/// What a header-map function is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MapKind {
    Head(Direction),
    Trailers(Direction),
    CallResponseHead,
    CallResponseTrailers,
    /// Of gRPC calls, which there are none of: always empty.
    Grpc,
}

impl MapKind {
    pub(crate) fn from_number(number: u32) -> Option<Self> {
        Some(match number {
            0 => Self::Head(Direction::Request),
            1 => Self::Trailers(Direction::Request),
            2 => Self::Head(Direction::Response),
            3 => Self::Trailers(Direction::Response),
            4 | 5 => Self::Grpc,
            6 => Self::CallResponseHead,
            7 => Self::CallResponseTrailers,
            _ => return None,
        })
    }
}

/// The stream of a `continue` or `close`; those of TCP filters are none here.
pub(crate) fn direction_from_number(number: u32) -> Option<Direction> {
    match number {
        0 => Some(Direction::Request),
        1 => Some(Direction::Response),
        _ => None,
    }
}

/// The kinds of metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum MetricKind {
    Counter,
    Gauge,
    Histogram,
}

impl MetricKind {
    pub(crate) fn from_number(number: u32) -> Option<Self> {
        Some(match number {
            0 => Self::Counter,
            1 => Self::Gauge,
            2 => Self::Histogram,
            _ => return None,
        })
    }
}

/// A callback's "pause"; anything else goes on, as an `end of iteration` of other hosts does.
pub(crate) const ACTION_PAUSE: u32 = 1;

/// The functions by which a module says which version of the ABI it speaks.
pub(crate) const VERSION_EXPORTS: [&str; 3] =
    ["proxy_abi_version_0_2_1", "proxy_abi_version_0_2_0", "proxy_abi_version_0_1_0"];
