//! WASI preview 1, as far as SDKs need it: clocks, random numbers, the environment that the configuration gives, and
//! standard output as log lines. There are no files and no sockets.

use std::collections::BTreeMap;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use wasmtime::{Caller, Linker};

use super::host::{Cause, Host};
use super::log;
use super::memory::{slice, split, write, write_u32, write_u64};
use crate::filter::proxy_wasm::abi::{Answer, Failure};

/// The names under which modules import WASI.
const MODULES: [&str; 2] = ["wasi_snapshot_preview1", "wasi_unstable"];

/// The most bytes of an unfinished line of output.
const LINE_BYTES_MAX: usize = 4096;

/// The most random bytes in one call.
const RANDOM_BYTES_MAX: u32 = 65_536;

/// The most slices in one write.
const SLICES_MAX: u32 = 1024;

/// The most events in one poll.
const SUBSCRIPTIONS_MAX: u32 = 64;

/// The sizes of a subscription and of an event.
const SUBSCRIPTION_BYTES: u32 = 48;
const EVENT_BYTES: usize = 32;

/// The most bytes that one write takes. The guest learns how many were taken, and writes the rest. A host call must be
/// short, because nothing interrupts it.
const WRITE_BYTES_MAX: u32 = 64 * 1024;

const SUCCESS: i32 = 0;
const BAD_DESCRIPTOR: i32 = 8;
const FAULT: i32 = 21;
const INVALID: i32 = 28;
const NOT_SUPPORTED: i32 = NOT_SUPPORTED_BYTE as i32;
const NOT_SUPPORTED_BYTE: u8 = 58;

/// The WASI state of one instance.
pub(super) struct Wasi {
    /// Entries of the form `NAME=value`, each with its terminating NUL.
    environment: Vec<Vec<u8>>,
    lines: [Vec<u8>; 2],
    began: Instant,
}

impl Wasi {
    pub(super) fn new(environment: &BTreeMap<String, String>) -> Self {
        let entry = |(name, value): (&String, &String)| format!("{name}={value}\0").into_bytes();
        Self {
            environment: environment.iter().map(entry).collect(),
            lines: Default::default(),
            began: Instant::now(),
        }
    }
}

/// Converts a result into the number that the guest gets.
fn errno(result: Answer<i32>) -> wasmtime::Result<i32> {
    match result {
        Ok(errno) => Ok(errno),
        Err(Failure::Status(_)) => Ok(FAULT),
        Err(Failure::Trap(error)) => Err(error),
    }
}

/// Links the supported functions, and makes the others return "not supported".
pub(crate) fn link(linker: &mut Linker<Host>) -> wasmtime::Result<()> {
    for module in MODULES {
        link_environment(linker, module)?;
        link_clocks(linker, module)?;
        link_output(linker, module)?;
        link_unsupported(linker, module)?;
    }
    Ok(())
}

fn link_environment(linker: &mut Linker<Host>, module: &str) -> wasmtime::Result<()> {
    linker.func_wrap(
        module,
        "environ_sizes_get",
        |mut caller: Caller<'_, Host>, count: u32, bytes: u32| {
            errno(environ_sizes(&mut caller, count, bytes))
        },
    )?;
    linker.func_wrap(module, "environ_get", |mut caller: Caller<'_, Host>, pointers: u32, bytes: u32| {
        errno(environ(&mut caller, pointers, bytes))
    })?;
    linker.func_wrap(module, "args_sizes_get", |mut caller: Caller<'_, Host>, count: u32, bytes: u32| {
        errno(
            write_u32(&mut caller, count, 0)
                .and_then(|()| write_u32(&mut caller, bytes, 0))
                .map(|()| SUCCESS),
        )
    })?;
    linker.func_wrap(module, "args_get", |_: u32, _: u32| SUCCESS)?;
    linker.func_wrap(module, "random_get", |mut caller: Caller<'_, Host>, pointer: u32, length: u32| {
        errno(random(&mut caller, pointer, length))
    })?;
    linker.func_wrap(
        module,
        "proc_exit",
        |mut caller: Caller<'_, Host>, code: u32| -> wasmtime::Result<()> {
            caller.data_mut().cause = Some(Cause::Exit(code));
            Err(wasmtime::format_err!("the plugin exited with code {code}"))
        },
    )?;
    linker.func_wrap(module, "sched_yield", || SUCCESS)?;
    Ok(())
}

fn environ_sizes(caller: &mut Caller<'_, Host>, count: u32, bytes: u32) -> Answer<i32> {
    let environment = &caller.data().wasi.environment;
    let (entries, total) = (environment.len(), environment.iter().map(Vec::len).sum::<usize>());
    write_u32(caller, count, u32::try_from(entries).unwrap_or(u32::MAX))?;
    write_u32(caller, bytes, u32::try_from(total).unwrap_or(u32::MAX))?;
    Ok(SUCCESS)
}

fn environ(caller: &mut Caller<'_, Host>, mut pointers: u32, mut bytes: u32) -> Answer<i32> {
    for entry in caller.data().wasi.environment.clone() {
        write_u32(caller, pointers, bytes)?;
        write(caller, bytes, &entry)?;
        pointers = pointers.saturating_add(4);
        bytes = bytes.saturating_add(u32::try_from(entry.len()).unwrap_or(u32::MAX));
    }
    Ok(SUCCESS)
}

fn random(caller: &mut Caller<'_, Host>, pointer: u32, length: u32) -> Answer<i32> {
    if length > RANDOM_BYTES_MAX {
        return Ok(INVALID);
    }
    let mut bytes = vec![0; usize::try_from(length).unwrap_or_default()];
    if aws_lc_rs::rand::fill(&mut bytes).is_err() {
        return Ok(NOT_SUPPORTED);
    }
    write(caller, pointer, &bytes)?;
    Ok(SUCCESS)
}

fn link_clocks(linker: &mut Linker<Host>, module: &str) -> wasmtime::Result<()> {
    linker.func_wrap(
        module,
        "clock_time_get",
        |mut caller: Caller<'_, Host>, clock: u32, _precision: u64, at: u32| {
            let nanos = match clock {
                0 => SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos(),
                // Process and thread time use the monotonic clock: they serve to measure.
                1..=3 => caller.data().wasi.began.elapsed().as_nanos(),
                _ => return Ok(INVALID),
            };
            errno(write_u64(&mut caller, at, u64::try_from(nanos).unwrap_or(u64::MAX)).map(|()| SUCCESS))
        },
    )?;
    linker.func_wrap(module, "clock_res_get", |mut caller: Caller<'_, Host>, clock: u32, at: u32| {
        if clock > 3 { Ok(INVALID) } else { errno(write_u64(&mut caller, at, 1).map(|()| SUCCESS)) }
    })?;
    linker.func_wrap(
        module,
        "poll_oneoff",
        |mut caller: Caller<'_, Host>, subscriptions: u32, events: u32, count: u32, at: u32| {
            errno(poll(&mut caller, subscriptions, events, count, at))
        },
    )?;
    Ok(())
}

/// Reports every clock as expired at once. Waiting would hold up every request of the worker, and runtimes that wait
/// briefly abort if they cannot. Files and sockets do not exist and are reported as not supported.
fn poll(caller: &mut Caller<'_, Host>, subscriptions: u32, events: u32, count: u32, at: u32) -> Answer<i32> {
    const CLOCK: u8 = 0;
    if count == 0 || count > SUBSCRIPTIONS_MAX {
        return Ok(INVALID);
    }
    for number in 0..count {
        let subscription = subscriptions.saturating_add(number.saturating_mul(SUBSCRIPTION_BYTES));
        let (memory, _) = split(caller)?;
        let wanted = slice(memory, subscription, SUBSCRIPTION_BYTES)?;
        let (user_data, kind) = (wanted.first_chunk::<8>().copied(), wanted.get(8).copied());
        let mut event = [0_u8; EVENT_BYTES];
        if let (Some(user_data), Some(kind)) = (user_data, kind) {
            let error: u8 = if kind == CLOCK { 0 } else { NOT_SUPPORTED_BYTE };
            event[..8].copy_from_slice(&user_data);
            (event[8], event[10]) = (error, kind);
        }
        let length = u32::try_from(EVENT_BYTES).unwrap_or(u32::MAX);
        write(caller, events.saturating_add(number.saturating_mul(length)), &event)?;
    }
    write_u32(caller, at, count)?;
    Ok(SUCCESS)
}

fn link_output(linker: &mut Linker<Host>, module: &str) -> wasmtime::Result<()> {
    linker.func_wrap(
        module,
        "fd_write",
        |mut caller: Caller<'_, Host>, descriptor: u32, slices: u32, count: u32, written: u32| {
            errno(fd_write(&mut caller, descriptor, slices, count, written))
        },
    )?;
    linker.func_wrap(module, "fd_fdstat_get", |mut caller: Caller<'_, Host>, descriptor: u32, at: u32| {
        errno(fd_fdstat(&mut caller, descriptor, at))
    })?;
    linker.func_wrap(module, "fd_fdstat_set_flags", |descriptor: u32, _: u32| {
        if descriptor <= 2 { SUCCESS } else { BAD_DESCRIPTOR }
    })?;
    // There is nothing to read, and no folder is open.
    linker.func_wrap(
        module,
        "fd_read",
        |mut caller: Caller<'_, Host>, descriptor: u32, _: u32, _: u32, read: u32| match descriptor {
            0 => errno(write_u32(&mut caller, read, 0).map(|()| SUCCESS)),
            _ => Ok(BAD_DESCRIPTOR),
        },
    )?;
    linker.func_wrap(module, "fd_prestat_get", |_: u32, _: u32| BAD_DESCRIPTOR)?;
    linker.func_wrap(module, "fd_prestat_dir_name", |_: u32, _: u32, _: u32| BAD_DESCRIPTOR)?;
    linker.func_wrap(
        module,
        "fd_close",
        |descriptor: u32| if descriptor <= 2 { SUCCESS } else { BAD_DESCRIPTOR },
    )?;
    linker.func_wrap(module, "fd_seek", |_: u32, _: u64, _: u32, _: u32| NOT_SUPPORTED)?;
    Ok(())
}

/// Writes standard output and standard error as log lines, one for each complete line.
fn fd_write(
    caller: &mut Caller<'_, Host>,
    descriptor: u32,
    slices: u32,
    count: u32,
    written: u32,
) -> Answer<i32> {
    let Some(index) = [1, 2].iter().position(|output| *output == descriptor) else {
        return Ok(BAD_DESCRIPTOR);
    };
    if count > SLICES_MAX {
        return Ok(INVALID);
    }
    let (memory, host) = split(caller)?;
    let mut total = 0_u32;
    let mut lines = Vec::new();
    for number in 0..count {
        let entry = slice(memory, slices.saturating_add(number.saturating_mul(8)), 8)?;
        let (pointer, length) = entry.split_at(4);
        let number = |bytes: &[u8]| u32::from_le_bytes(bytes.try_into().unwrap_or_default());
        // An invalid slice is a fault, even if none of its bytes are taken.
        slice(memory, number(pointer), number(length))?;
        let taken = number(length).min(WRITE_BYTES_MAX - total);
        let data = slice(memory, number(pointer), taken)?;
        if let Some(line) = host.wasi.lines.get_mut(index) {
            gather(line, data, &mut lines);
        }
        total += taken;
    }
    let level = if index == 0 { log::Level::Info } else { log::Level::Error };
    for line in lines {
        log::write(host, level, &line);
    }
    write_u32(caller, written, total)?;
    Ok(SUCCESS)
}

/// Adds data to a line, and moves complete lines to `lines`.
fn gather(line: &mut Vec<u8>, data: &[u8], lines: &mut Vec<Vec<u8>>) {
    for piece in data.split_inclusive(|byte| *byte == b'\n') {
        let room = LINE_BYTES_MAX.saturating_sub(line.len());
        let text = piece.strip_suffix(b"\n").unwrap_or(piece);
        line.extend_from_slice(text.get(..room.min(text.len())).unwrap_or_default());
        if piece.ends_with(b"\n") {
            lines.push(std::mem::take(line));
        }
    }
}

/// Describes a character device that can be written to, like a terminal.
fn fd_fdstat(caller: &mut Caller<'_, Host>, descriptor: u32, at: u32) -> Answer<i32> {
    if descriptor > 2 {
        return Ok(BAD_DESCRIPTOR);
    }
    let mut stat = [0_u8; 24];
    stat[0] = 2;
    let rights: u64 = if descriptor == 0 { 1 << 1 } else { 1 << 6 };
    stat[8..16].copy_from_slice(&rights.to_le_bytes());
    write(caller, at, &stat)?;
    Ok(SUCCESS)
}

/// Links all other functions of preview 1, by their parameters. They concern files and sockets, which do not exist.
fn link_unsupported(linker: &mut Linker<Host>, module: &str) -> wasmtime::Result<()> {
    use wasmtime::{FuncType, Val, ValType};
    const I: ValType = ValType::I32;
    const L: ValType = ValType::I64;
    let functions: [(&str, &[ValType]); 28] = [
        ("fd_advise", &[I, L, L, I]),
        ("fd_allocate", &[I, L, L]),
        ("fd_datasync", &[I]),
        ("fd_fdstat_set_rights", &[I, L, L]),
        ("fd_filestat_get", &[I, I]),
        ("fd_filestat_set_size", &[I, L]),
        ("fd_filestat_set_times", &[I, L, L, I]),
        ("fd_pread", &[I, I, I, L, I]),
        ("fd_pwrite", &[I, I, I, L, I]),
        ("fd_readdir", &[I, I, I, L, I]),
        ("fd_renumber", &[I, I]),
        ("fd_sync", &[I]),
        ("fd_tell", &[I, I]),
        ("path_create_directory", &[I, I, I]),
        ("path_filestat_get", &[I, I, I, I, I]),
        ("path_filestat_set_times", &[I, I, I, I, L, L, I]),
        ("path_link", &[I, I, I, I, I, I, I]),
        ("path_open", &[I, I, I, I, I, L, L, I, I]),
        ("path_readlink", &[I, I, I, I, I, I]),
        ("path_remove_directory", &[I, I, I]),
        ("path_rename", &[I, I, I, I, I, I]),
        ("path_symlink", &[I, I, I, I, I]),
        ("path_unlink_file", &[I, I, I]),
        ("proc_raise", &[I]),
        ("sock_accept", &[I, I, I]),
        ("sock_recv", &[I, I, I, I, I, I]),
        ("sock_send", &[I, I, I, I, I]),
        ("sock_shutdown", &[I, I]),
    ];
    for (name, parameters) in functions {
        let kind = FuncType::new(linker.engine(), parameters.iter().cloned(), [I]);
        linker.func_new(module, name, kind, |_, _, results| {
            if let Some(result) = results.first_mut() {
                *result = Val::I32(NOT_SUPPORTED);
            }
            Ok(())
        })?;
    }
    Ok(())
}
