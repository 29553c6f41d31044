//! The numbers of the proxy-wasm ABI (0.1.0, 0.2.0, 0.2.1, 0.2.100).

use crate::filter::{Action, Direction};

/// The status that a host function returns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i32)]
pub(crate) enum Status {
    Ok = 0,
    NotFound = 1,
    BadArgument = 2,
    ParseFailure = 4,
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

/// The result of a host function, converted by [`answer`].
pub(crate) type Answer<T = ()> = Result<T, Failure>;

/// Runs a host function, and converts its result into the number that the guest gets.
pub(crate) fn answer(run: impl FnOnce() -> Answer) -> wasmtime::Result<i32> {
    match run() {
        Ok(()) => Ok(Status::Ok as i32),
        Err(Failure::Status(status)) => Ok(status as i32),
        Err(Failure::Trap(error)) => Err(error),
    }
}

/// The subject of a buffer function.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BufferKind {
    Body(Direction),
    CallResponseBody,
    /// A message that a gRPC call has received.
    GrpcMessage,
    VmConfiguration,
    PluginConfiguration,
    CallData,
}

/// The subject of a header-map function.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MapKind {
    Head(Direction),
    Trailers(Direction),
    CallResponseHead,
    CallResponseTrailers,
    GrpcInitialMetadata,
    GrpcTrailingMetadata,
}

/// The subject of `proxy_continue_stream` and `proxy_close_stream`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StreamKind {
    Message(Direction),
    /// A side of a TCP filter, which is not implemented.
    Tcp,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum MetricKind {
    Counter,
    Gauge,
    Histogram,
}

/// Defines `from_number` for enumerations: the value that the ABI means by a number, or `None` if it means none.
macro_rules! from_number {
    ($($kind:ident { $($number:pat => $value:expr,)* })*) => {
        $(impl $kind {
            pub(crate) fn from_number(number: u32) -> Option<Self> {
                Some(match number {
                    $($number => $value,)*
                    _ => return None,
                })
            }
        })*
    };
}

from_number! {
    BufferKind {
        0 => BufferKind::Body(Direction::Request),
        1 => BufferKind::Body(Direction::Response),
        4 => BufferKind::CallResponseBody,
        5 => BufferKind::GrpcMessage,
        6 => BufferKind::VmConfiguration,
        7 => BufferKind::PluginConfiguration,
        8 => BufferKind::CallData,
    }
    MapKind {
        0 => MapKind::Head(Direction::Request),
        1 => MapKind::Trailers(Direction::Request),
        2 => MapKind::Head(Direction::Response),
        3 => MapKind::Trailers(Direction::Response),
        4 => MapKind::GrpcInitialMetadata,
        5 => MapKind::GrpcTrailingMetadata,
        6 => MapKind::CallResponseHead,
        7 => MapKind::CallResponseTrailers,
    }
    StreamKind {
        0 => StreamKind::Message(Direction::Request),
        1 => StreamKind::Message(Direction::Response),
        2 | 3 => StreamKind::Tcp,
    }
    MetricKind {
        0 => MetricKind::Counter,
        1 => MetricKind::Gauge,
        2 => MetricKind::Histogram,
    }
}

/// Returns the action for the result of a head callback, or `None` if the ABI does not define the number.
///
/// 1 is StopIteration, 3 StopAllIterationAndBuffer, 4 StopAllIterationAndWatermark: SDKs differ in which of them they
/// use.
pub(crate) fn head_action(number: u32) -> Option<Action> {
    match number {
        0 => Some(Action::Continue),
        1 => Some(Action::Pause),
        2 => Some(Action::ContinueAndEnd),
        3 | 4 => Some(Action::PauseAll),
        _ => None,
    }
}

/// Returns the action for the result of a body callback, or `None` if the ABI does not define the number.
///
/// 1 is StopIterationAndBuffer, 2 StopIterationAndWatermark, 3 StopIterationNoBuffer.
pub(crate) fn body_action(number: u32) -> Option<Action> {
    match number {
        0 => Some(Action::Continue),
        1 | 2 => Some(Action::Pause),
        3 => Some(Action::PauseWithoutBuffer),
        _ => None,
    }
}

/// Returns the action for the result of a trailers callback, or `None` if the ABI does not define the number.
pub(crate) fn trailers_action(number: u32) -> Option<Action> {
    match number {
        0 => Some(Action::Continue),
        1 => Some(Action::Pause),
        _ => None,
    }
}

/// Returns the gRPC status of a local response, or `None` if it has none. A number that gRPC does not define becomes
/// UNKNOWN, so that no client mistakes it for a success.
pub(crate) fn grpc_status(number: i32) -> Option<u8> {
    const UNKNOWN: u8 = 2;
    const LAST: u8 = 16;
    match u8::try_from(number) {
        Ok(status) if status <= LAST => Some(status),
        _ if number < 0 => None,
        _ => Some(UNKNOWN),
    }
}

/// Returns true if the result of a boolean callback means true. As in C and in other hosts, only 0 is false.
pub(crate) fn is_true(number: u32) -> bool {
    number != 0
}

/// The exports by which a module states its ABI version. 0.2.100 is 0.2.1 with a vendor's additions.
pub(crate) const VERSION_EXPORTS: [&str; 4] = [
    "proxy_abi_version_0_2_1",
    "proxy_abi_version_0_2_0",
    "proxy_abi_version_0_1_0",
    "proxy_abi_version_0_2_100",
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::filter::proxy_wasm::log::Level;

    #[test]
    fn an_action_other_than_a_known_continue_never_lets_a_message_go_on() {
        use Action::{Continue, ContinueAndEnd, Pause, PauseAll, PauseWithoutBuffer};
        let heads = [Some(Continue), Some(Pause), Some(ContinueAndEnd), Some(PauseAll), Some(PauseAll), None];
        let bodies = [Some(Continue), Some(Pause), Some(Pause), Some(PauseWithoutBuffer), None, None];
        let trailers = [Some(Continue), Some(Pause), None, None, None, None];
        let parsers: [(fn(u32) -> Option<Action>, _); 3] =
            [(head_action, heads), (body_action, bodies), (trailers_action, trailers)];
        for (parse, expected) in parsers {
            for (number, expected) in (0..).zip(expected) {
                assert_eq!(parse(number), expected, "{number}");
            }
            for number in [6, 0xff, 0x100, 0x1_0000, 0x8000_0000, u32::MAX] {
                assert_eq!(parse(number), None, "{number}");
            }
        }
    }

    #[test]
    fn kinds_that_the_abi_does_not_have_are_none() {
        let known = |is_known: fn(u32) -> bool| -> Vec<u32> {
            (0..1000)
                .chain([0x100, 0x1_0000, 0x8000_0000, u32::MAX])
                .filter(|number| is_known(*number))
                .collect()
        };
        assert_eq!(known(|number| BufferKind::from_number(number).is_some()), [0, 1, 4, 5, 6, 7, 8]);
        assert_eq!(known(|number| MapKind::from_number(number).is_some()), [0, 1, 2, 3, 4, 5, 6, 7]);
        assert_eq!(known(|number| StreamKind::from_number(number).is_some()), [0, 1, 2, 3]);
        assert_eq!(known(|number| MetricKind::from_number(number).is_some()), [0, 1, 2]);
        assert_eq!(known(|number| Level::from_number(number).is_some()), [0, 1, 2, 3, 4, 5]);
        assert_eq!(known(|number| !is_true(number)), [0]);
    }

    #[test]
    fn grpc_statuses_that_do_not_exist_are_unknown_errors() {
        for (number, expected) in
            [(i32::MIN, None), (-1, None), (0, Some(0)), (16, Some(16)), (17, Some(2)), (i32::MAX, Some(2))]
        {
            assert_eq!(grpc_status(number), expected, "{number}");
        }
    }
}
