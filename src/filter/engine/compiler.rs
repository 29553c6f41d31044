//! Compilation of modules: in a child process, one at a time, on the CPU time that the workers leave.
//!
//! A compiler takes many times the memory of its result, in allocations that keep whole pages alive afterwards. The
//! memory of a child is returned when it ends, and a module that takes too much ends the child and not the gateway,
//! unless a supervisor ends all processes of a group after one was killed.

use std::fmt::Display;
use std::fs::{self, File};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::{Child, Command, ExitCode, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rayon_core::{ThreadPool, ThreadPoolBuilder};
use rustix::fs::MemfdFlags;
use rustix::io::Errno;
use rustix::process::{Resource, Rlimit, Signal};
use tokio::signal::unix::{SignalKind, signal};
use wasmtime::Engine;

use crate::config::ByteSize;
use crate::filter::engine::runtime::{Allocation, config};

/// The subcommand that compiles for a parent process: it reads a module from standard input and writes the result to
/// standard output.
pub(crate) const SUBCOMMAND: &str = "compile-module";

/// The niceness of a compiler, ten steps below the workers: it gets a tenth of a worker's share when both want the same
/// core.
const NICENESS: i32 = 10;

/// The most memory that a compiler may take. A module of 64 MiB, the default of `wasm.module_bytes`, takes less.
const MEMORY_MAX: u64 = 4 << 30;

/// The longest time that a compilation may take. With two idle cores a module of 25 MiB takes ten seconds.
const TIME_MAX: Duration = Duration::from_secs(120);

/// The first and the longest interval at which a compiler is polled.
const PAUSE: [Duration; 2] = [Duration::from_millis(1), Duration::from_millis(16)];

/// The exit code of a compiler that has written why the module is invalid.
const REFUSED: u8 = 65;

/// True if modules are compiled in child processes.
static IN_CHILD: AtomicBool = AtomicBool::new(false);

/// Held while a child compiles.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

static THREADS: LazyLock<Option<ThreadPool>> = LazyLock::new(|| {
    let give_way = |_| {
        // On Linux each thread has its own priority. If this fails, only the priority is unchanged.
        let _unchanged = rustix::process::nice(NICENESS);
    };
    let name = |number| format!("filter-compiler-{number}");
    ThreadPoolBuilder::new().thread_name(name).start_handler(give_way).build().ok()
});

/// The reason why a module was not compiled.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CompileError {
    #[error("{0}")]
    Invalid(String),
    #[error("the process that compiles it cannot be started: {0}")]
    Start(io::Error),
    #[error("the process that compiles it {0}")]
    Ended(String),
}

/// Compiles modules in child processes from now on. Only the gateway's program may call this: a child runs the same
/// executable with the [`SUBCOMMAND`], which tests and benchmarks of the library do not have.
pub(crate) fn compile_in_children() {
    IN_CHILD.store(true, Ordering::Relaxed);
}

/// Compiles a module. The result is a file in memory, which is freed when it is dropped.
pub(crate) fn compile(wasm: &[u8], engine: &Engine) -> Result<File, CompileError> {
    if IN_CHILD.load(Ordering::Relaxed) {
        return in_child(wasm);
    }
    let compiled = in_background(|| engine.precompile_module(wasm));
    let compiled = compiled.map_err(|error| CompileError::Invalid(format!("{error:#}")))?;
    memory_file("compiled", &compiled).map_err(CompileError::Start)
}

/// Returns a file in memory with this content, positioned at its beginning.
pub(crate) fn memory_file(name: &str, content: &[u8]) -> io::Result<File> {
    let mut file = File::from(created(|flags| rustix::fs::memfd_create(name, flags))?);
    file.write_all(content)?;
    file.rewind()?;
    Ok(file)
}

/// Creates a file in memory that cannot be executed as a program, as a system may require (`vm.memfd_noexec=2`). Its
/// code can still be mapped. Kernels before 6.3 do not know the flag.
fn created<T>(mut create: impl FnMut(MemfdFlags) -> rustix::io::Result<T>) -> rustix::io::Result<T> {
    match create(MemfdFlags::CLOEXEC | MemfdFlags::NOEXEC_SEAL) {
        Err(Errno::INVAL) => create(MemfdFlags::CLOEXEC),
        result => result,
    }
}

fn in_child(wasm: &[u8]) -> Result<File, CompileError> {
    // Run the same executable file, even if another one has taken its name: parent and child must be of one version.
    let mut compiler = Command::new("/proc/self/exe");
    compiler
        .arg0("gateway")
        .arg(SUBCOMMAND)
        // The compiler parses untrusted input, so it gets no secrets from the environment.
        .env_clear()
        .envs(std::env::var_os("LD_LIBRARY_PATH").map(|path| ("LD_LIBRARY_PATH", path)))
        .current_dir("/");
    run(compiler, wasm, TIME_MAX)
}

/// Runs a compiler on a module once no other one runs, and kills it after `time_max`.
fn run(mut compiler: Command, wasm: &[u8], time_max: Duration) -> Result<File, CompileError> {
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let mut start = || {
        let (input, output) = (memory_file("module", wasm)?, memory_file("compiled", &[])?);
        let child = compiler
            .stdin(input)
            .stdout(output.try_clone()?)
            .stderr(Stdio::null())
            // Signals to the gateway's group are not meant for the compiler. It ends with the gateway all the same.
            .process_group(0)
            .spawn()?;
        Ok((child, output))
    };
    let (mut child, mut output) = start().map_err(CompileError::Start)?;
    let status = wait(&mut child, time_max).map_err(CompileError::Start)?;
    output.rewind().map_err(CompileError::Start)?;
    match status {
        Some(status) if status.success() => Ok(output),
        Some(status) if status.code() == Some(REFUSED.into()) => {
            let mut message = String::new();
            output.read_to_string(&mut message).map_err(CompileError::Start)?;
            Err(CompileError::Invalid(message))
        }
        Some(status) => Err(CompileError::Ended(described(status))),
        None => Err(CompileError::Ended(format!("took longer than {time_max:?}"))),
    }
}

/// Waits for a child to end. Kills it if it takes too long, and returns no status then.
fn wait(child: &mut Child, time_max: Duration) -> io::Result<Option<ExitStatus>> {
    let (until, mut pause) = (Instant::now() + time_max, PAUSE[0]);
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if Instant::now() > until {
            child.kill()?;
            child.wait()?;
            return Ok(None);
        }
        std::thread::park_timeout(pause);
        pause = (pause * 2).min(PAUSE[1]);
    }
}

fn described(status: ExitStatus) -> String {
    let memory = ByteSize::from_bytes(memory_max());
    match status.signal() {
        Some(signal) => {
            format!(
                "was ended by signal {signal}; it may have needed more than its {memory}, or than the machine has"
            )
        }
        None => format!("failed ({status}); it may have needed more than its {memory} of memory"),
    }
}

/// Returns how many bytes of memory a compiler may take. It keeps a lower limit that the gateway itself was started
/// with.
fn memory_max() -> u64 {
    let own = rustix::process::getrlimit(Resource::Data).current;
    own.map_or(MEMORY_MAX, |own| own.min(MEMORY_MAX))
}

/// Compiles for the parent process, from standard input to standard output.
pub(crate) fn compile_for_parent() -> ExitCode {
    // Each of these is best effort: a compiler without its limits should still compile.
    let _mortal = ignore_signals();
    let _outlives = rustix::process::set_parent_process_death_signal(Some(Signal::KILL));
    let _in_the_way = rustix::process::nice(NICENESS);
    let memory = Some(memory_max());
    let limit = Rlimit { current: memory, maximum: memory };
    let _unlimited = rustix::process::setrlimit(Resource::Data, limit);
    // Make the OOM killer prefer this process to the gateway.
    let _as_likely = fs::write("/proc/self/oom_score_adj", "1000");
    let (code, output) = match compiled() {
        Ok(compiled) => (ExitCode::SUCCESS, compiled),
        Err(error) => (ExitCode::from(REFUSED), error.into_bytes()),
    };
    // Standard output buffers the tail: without a flush, losing it would look like a success.
    let mut stdout = io::stdout().lock();
    match stdout.write_all(&output).and_then(|()| stdout.flush()) {
        Ok(()) => code,
        Err(_unwritable) => ExitCode::FAILURE,
    }
}

/// Ignores the signals that have a meaning for the gateway and would end the compiler: supervisors may send them to all
/// processes of a service. Signals that end the gateway end the compiler too.
fn ignore_signals() -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    let _entered = runtime.enter();
    for kind in [SignalKind::hangup(), SignalKind::user_defined1(), SignalKind::user_defined2()] {
        // The handler stays in place when its listener is dropped.
        drop(signal(kind)?);
    }
    Ok(())
}

fn compiled() -> Result<Vec<u8>, String> {
    fn message(error: impl Display) -> String {
        format!("{error:#}")
    }
    let mut wasm = Vec::new();
    io::stdin().lock().read_to_end(&mut wasm).map_err(message)?;
    // Pools matter to instances, not to code.
    let engine = Engine::new(&config(Allocation::OnDemand)).map_err(message)?;
    engine.precompile_module(&wasm).map_err(message)
}

/// Runs work, and everything that it does in parallel, on the compiler's threads.
fn in_background<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    match &*THREADS {
        Some(threads) => threads.install(work),
        None => work(),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;
    use std::thread;

    use super::*;

    /// Returns a shell command to run in place of the compiler.
    fn shell(script: &str) -> Command {
        let mut shell = Command::new("sh");
        shell.args(["-c", script]);
        shell
    }

    fn text(mut file: File) -> String {
        let mut text = String::new();
        file.read_to_string(&mut text).unwrap();
        text
    }

    #[test]
    fn compilers_of_two_modules_run_one_after_the_other() {
        let folder = tempfile::tempdir().unwrap();
        // If two ran at once, one would find the folder of the other.
        let compiler = || {
            let mut compiler = shell("mkdir running && cat && rmdir running");
            compiler.current_dir(&folder);
            compiler
        };
        thread::scope(|scope| {
            for module in ["first", "second"] {
                scope.spawn(move || {
                    for _ in 0..20 {
                        assert_eq!(text(run(compiler(), module.as_bytes(), TIME_MAX).unwrap()), module);
                    }
                });
            }
        });
    }

    #[test]
    fn compiler_that_takes_too_long_is_ended_with_an_error_that_has_the_limit() {
        let limit = Duration::from_millis(1);
        let error = run(shell("exec tail -f /dev/null"), b"", limit).unwrap_err().to_string();
        assert_eq!(error, "the process that compiles it took longer than 1ms");
        let mut child = shell("exec tail -f /dev/null").spawn().unwrap();
        assert!(wait(&mut child, limit).unwrap().is_none());
        assert_eq!(child.try_wait().unwrap().unwrap().signal(), Some(Signal::KILL.as_raw()));
    }

    #[test]
    fn error_of_a_compiler_says_whether_the_module_is_none_or_memory_is_short() {
        for (script, expected) in [
            ("echo no module; exit 65", "no module\n"),
            ("exit 1", "failed (exit status: 1); it may have needed more than its "),
            ("kill -ABRT $$", "was ended by signal 6; it may have needed more than its "),
        ] {
            let error = run(shell(script), b"", TIME_MAX).unwrap_err();
            assert_eq!(matches!(error, CompileError::Invalid(_)), script.ends_with("65"), "{error}");
            assert!(error.to_string().contains(expected), "{error}");
        }
    }

    #[test]
    fn memory_file_that_no_program_may_run_from_is_asked_for_first() {
        let sealed = MemfdFlags::CLOEXEC | MemfdFlags::NOEXEC_SEAL;
        for (first, asked, result) in [
            (Ok(()), &[sealed][..], Ok(())),
            (Err(Errno::INVAL), &[sealed, MemfdFlags::CLOEXEC], Ok(())),
            (Err(Errno::ACCESS), &[sealed], Err(Errno::ACCESS)),
        ] {
            let mut flags = Vec::new();
            let created = created(|wanted| {
                flags.push(wanted);
                if flags.len() == 1 { first } else { Ok(()) }
            });
            assert_eq!((created, &flags[..]), (result, asked));
        }
    }

    #[test]
    fn memory_file_has_its_content_and_is_no_program() {
        let mut file = memory_file("test", b"content").unwrap();
        let mut content = String::new();
        file.read_to_string(&mut content).unwrap();
        assert_eq!(content, "content");
        // If the kernel knows the flag, the mode has no executable bit.
        if rustix::fs::memfd_create("probe", MemfdFlags::NOEXEC_SEAL).is_ok() {
            assert_eq!(file.metadata().unwrap().permissions().mode() & 0o111, 0);
        }
    }
}
