//! WASI preview 1, as far as SDKs need it: clocks, random numbers, the environment that the configuration gives, and
//! standard output as log lines. There are no files and no sockets.

use std::time::{SystemTime, UNIX_EPOCH};

use wasmtime::Linker;

use super::host::{Cause, Host};
use super::log::Level;
use super::memory::{At, Guest, Slice, split, write};
use super::parameters::{Parameter, host_functions};
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

/// Runs a function, and converts its result into the number that the guest gets.
fn errno(run: impl FnOnce() -> Answer<i32>) -> wasmtime::Result<i32> {
    match run() {
        Ok(errno) => Ok(errno),
        Err(Failure::Status(_)) => Ok(FAULT),
        Err(Failure::Trap(error)) => Err(error),
    }
}

/// Links the supported functions, and makes the others return "not supported".
pub(crate) fn link(linker: &mut Linker<Host>) -> wasmtime::Result<()> {
    for module in MODULES {
        link_supported(linker, module)?;
        linker.func_wrap(module, "proc_exit", |mut caller: Guest<'_>, code: u32| exit(&mut caller, code))?;
        link_unsupported(linker, module)?;
    }
    Ok(())
}

fn link_supported(linker: &mut Linker<Host>, module: &str) -> wasmtime::Result<()> {
    host_functions! { linker, module, errno;
        environ_sizes_get(count: At<u32>, bytes: At<u32>) => environ_sizes;
        environ_get(pointers: u32, bytes: u32) => environ;
        args_sizes_get(count: At<u32>, bytes: At<u32>) => args_sizes;
        args_get(_: u32, _: u32) => success;
        random_get(bytes: Slice) => random;
        sched_yield() => success;
        clock_time_get(clock: u32, _: u64, time: At<u64>) => clock_time;
        clock_res_get(clock: u32, resolution: At<u64>) => clock_resolution;
        poll_oneoff(subscriptions: u32, events: u32, count: u32, ready: At<u32>) => poll;
        fd_write(descriptor: u32, slices: u32, count: u32, written: At<u32>) => fd_write;
        fd_fdstat_get(descriptor: u32, stat: u32) => fd_fdstat;
        fd_fdstat_set_flags(descriptor: u32, _: u32) => is_standard;
        fd_close(descriptor: u32) => is_standard;
        fd_seek(_: u32, _: u64, _: u32, _: u32) => not_supported;
        // There is nothing to read, and no folder is open.
        fd_read(descriptor: u32, _: u32, _: u32, read: At<u32>) => fd_read;
        fd_prestat_get(_: u32, _: u32) => bad_descriptor;
        fd_prestat_dir_name(_: u32, _: u32, _: u32) => bad_descriptor;
    }
    Ok(())
}

fn success(_: &mut Guest<'_>) -> Answer<i32> {
    Ok(SUCCESS)
}

fn bad_descriptor(_: &mut Guest<'_>) -> Answer<i32> {
    Ok(BAD_DESCRIPTOR)
}

fn not_supported(_: &mut Guest<'_>) -> Answer<i32> {
    Ok(NOT_SUPPORTED)
}

/// Succeeds for standard input, output and error.
fn is_standard(_: &mut Guest<'_>, descriptor: u32) -> Answer<i32> {
    Ok(if descriptor <= 2 { SUCCESS } else { BAD_DESCRIPTOR })
}

fn exit(caller: &mut Guest<'_>, code: u32) -> wasmtime::Result<()> {
    caller.data_mut().cause = Some(Cause::Exit(code));
    Err(wasmtime::format_err!("the plugin exited with code {code}"))
}

fn args_sizes(caller: &mut Guest<'_>, count_at: At<u32>, bytes_at: At<u32>) -> Answer<i32> {
    count_at.write(caller, 0)?;
    bytes_at.write(caller, 0)?;
    Ok(SUCCESS)
}

fn environ_sizes(caller: &mut Guest<'_>, count_at: At<u32>, bytes_at: At<u32>) -> Answer<i32> {
    let environment = &caller.data().wasi.environment;
    let (entries, total) = (environment.len(), environment.iter().map(Vec::len).sum::<usize>());
    count_at.write_length(caller, entries)?;
    bytes_at.write_length(caller, total)?;
    Ok(SUCCESS)
}

fn environ(caller: &mut Guest<'_>, mut pointers: u32, mut bytes: u32) -> Answer<i32> {
    for entry in caller.data().wasi.environment.clone() {
        write(caller, pointers, &bytes.to_le_bytes())?;
        write(caller, bytes, &entry)?;
        pointers = pointers.saturating_add(4);
        bytes = bytes.saturating_add(u32::try_from(entry.len()).unwrap_or(u32::MAX));
    }
    Ok(SUCCESS)
}

fn random(caller: &mut Guest<'_>, wanted: Slice) -> Answer<i32> {
    let Slice { pointer, length } = wanted;
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

fn clock_time(caller: &mut Guest<'_>, clock: u32, time_at: At<u64>) -> Answer<i32> {
    let nanos = match clock {
        0 => SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos(),
        // Process and thread time use the monotonic clock: they serve to measure.
        1..=3 => caller.data().wasi.began.elapsed().as_nanos(),
        _ => return Ok(INVALID),
    };
    time_at.write(caller, u64::try_from(nanos).unwrap_or(u64::MAX))?;
    Ok(SUCCESS)
}

fn clock_resolution(caller: &mut Guest<'_>, clock: u32, resolution_at: At<u64>) -> Answer<i32> {
    if clock > 3 {
        return Ok(INVALID);
    }
    resolution_at.write(caller, 1)?;
    Ok(SUCCESS)
}

/// Reports every clock as expired at once. Waiting would hold up every request of the worker, and runtimes that wait
/// briefly abort if they cannot. Files and sockets do not exist and are reported as not supported.
fn poll(
    caller: &mut Guest<'_>,
    subscriptions: u32,
    events: u32,
    count: u32,
    ready_at: At<u32>,
) -> Answer<i32> {
    const CLOCK: u8 = 0;
    if count == 0 || count > SUBSCRIPTIONS_MAX {
        return Ok(INVALID);
    }
    for number in 0..count {
        let subscription = subscriptions.saturating_add(number.saturating_mul(SUBSCRIPTION_BYTES));
        let (memory, _) = split(caller)?;
        let wanted = Slice::new(subscription, SUBSCRIPTION_BYTES).of(memory)?;
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
    ready_at.write(caller, count)?;
    Ok(SUCCESS)
}

fn fd_read(caller: &mut Guest<'_>, descriptor: u32, read_at: At<u32>) -> Answer<i32> {
    if descriptor != 0 {
        return Ok(BAD_DESCRIPTOR);
    }
    read_at.write(caller, 0)?;
    Ok(SUCCESS)
}

/// Writes standard output and standard error as log lines, one for each complete line.
fn fd_write(
    caller: &mut Guest<'_>,
    descriptor: u32,
    slices: u32,
    count: u32,
    written_at: At<u32>,
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
        let entry = Slice::new(slices.saturating_add(number.saturating_mul(8)), 8).of(memory)?;
        let (pointer, length) = entry.split_at(4);
        let number = |bytes: &[u8]| u32::from_le_bytes(bytes.try_into().unwrap_or_default());
        // An invalid slice is a fault, even if none of its bytes are taken.
        let whole = Slice::new(number(pointer), number(length));
        whole.of(memory)?;
        let taken = whole.length.min(WRITE_BYTES_MAX - total);
        let data = Slice::new(whole.pointer, taken).of(memory)?;
        if let Some(line) = host.wasi.lines.get_mut(index) {
            gather(line, data, &mut lines);
        }
        total += taken;
    }
    let level = if index == 0 { Level::Info } else { Level::Error };
    for line in lines {
        host.write_log(level, &line);
    }
    written_at.write(caller, total)?;
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
fn fd_fdstat(caller: &mut Guest<'_>, descriptor: u32, at: u32) -> Answer<i32> {
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
