//! Host functions as tables: how the guest's numbers become parameters, and a result becomes a number.

use super::abi::{Answer, BufferKind, MapKind, MetricKind, Status, StreamKind};
use super::log::Level;
use super::memory::At;

/// A parameter of a host function that the guest passes as one number.
pub(super) trait Parameter: Sized {
    type Number: wasmtime::WasmTy;

    /// # Errors
    /// Fails if the ABI does not define the number.
    fn read(number: Self::Number) -> Answer<Self>;
}

/// Parameters that a number always is.
macro_rules! numbers {
    ($($kind:ty: $number:ty = $read:expr;)*) => {
        $(impl Parameter for $kind {
            type Number = $number;

            fn read(number: $number) -> Answer<Self> {
                Ok($read(number))
            }
        })*
    };
}

numbers! {
    u32: u32 = std::convert::identity;
    u64: u64 = std::convert::identity;
    i32: i32 = std::convert::identity;
    i64: i64 = std::convert::identity;
    At<u32>: u32 = At::new;
    At<u64>: u32 = At::new;
}

/// Parameters that only some numbers are.
macro_rules! kinds {
    ($($kind:ty),*) => {
        $(impl Parameter for $kind {
            type Number = u32;

            fn read(number: u32) -> Answer<Self> {
                Ok(Self::from_number(number).ok_or(Status::BadArgument)?)
            }
        })*
    };
}

kinds!(BufferKind, MapKind, StreamKind, MetricKind, Level);

/// Links a table of host functions. A row has a function's name and parameters as the ABI documents them, and the
/// function of the gateway that implements it:
///
/// ```text
/// proxy_get_header_map_value(map: MapKind, name: Slice, value: Out) => maps::value_of;
/// ```
///
/// [`Slice`](super::memory::Slice) and [`Out`](super::memory::Out) are two numbers of the guest, a pointer and a length.
/// Every other parameter is one [`Parameter`]. `_` is a parameter that the gateway does not use. Numbers that the ABI
/// does not define fail the call before it begins; the memory behind a pointer is checked when it is used.
macro_rules! host_functions {
    // A parameter after the other: first the closure's parameters, then the function's arguments.
    (@ $head:tt [$($numbers:tt)*] $arguments:tt _: Slice $(, $($rest:tt)*)?) => {
        host_functions!(@ $head [$($numbers)* _: u32, _: u32,] $arguments $($($rest)*)?)
    };
    (@ $head:tt [$($numbers:tt)*] $arguments:tt _: $kind:ty $(, $($rest:tt)*)?) => {
        host_functions!(@ $head [$($numbers)* _: $kind,] $arguments $($($rest)*)?)
    };
    (@ $head:tt [$($numbers:tt)*] [$($arguments:tt)*] $name:ident: Slice $(, $($rest:tt)*)?) => {
        host_functions!(@ $head [$($numbers)* $name: u32, length: u32,]
            [$($arguments)* $crate::filter::proxy_wasm::memory::Slice::new($name, length),] $($($rest)*)?)
    };
    (@ $head:tt [$($numbers:tt)*] [$($arguments:tt)*] $name:ident: Out $(, $($rest:tt)*)?) => {
        host_functions!(@ $head [$($numbers)* $name: u32, length: u32,]
            [$($arguments)* $crate::filter::proxy_wasm::memory::Out::new($name, length),] $($($rest)*)?)
    };
    (@ $head:tt [$($numbers:tt)*] [$($arguments:tt)*] $name:ident: $kind:ty $(, $($rest:tt)*)?) => {
        host_functions!(@ $head [$($numbers)* $name: <$kind as Parameter>::Number,]
            [$($arguments)* <$kind as Parameter>::read($name)?,] $($($rest)*)?)
    };
    (@ ($linker:ident $module:ident $result:path; $name:ident $function:path)
        [$($numbers:tt)*] [$($arguments:tt)*]) => {
        $linker.func_wrap($module, stringify!($name), |mut caller: $crate::filter::proxy_wasm::memory::Guest<'_>, $($numbers)*| {
            $result(|| $function(&mut caller, $($arguments)*))
        })?;
    };
    ($linker:ident, $module:ident, $result:path; $($name:ident($($parameters:tt)*) => $function:path;)*) => {
        $(host_functions!(@ ($linker $module $result; $name $function) [] [] $($parameters)*);)*
    };
}

pub(super) use host_functions;
