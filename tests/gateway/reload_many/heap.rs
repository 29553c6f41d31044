//! The heap that a gateway uses, to the byte. The kernel's figures of a process are no measure: an allocator keeps memory that
//! it was given back. So the gateway runs in a process of the test binary, whose allocator counts.

use std::alloc::{GlobalAlloc, Layout, System};
use std::process::ExitCode;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;

use clap::Parser as _;
use support::{Gateway, GatewayBuilder, Signal, wait_until};
use tokio::signal::unix::{SignalKind, signal};

#[global_allocator]
static HEAP: Counting = Counting;

static IN_USE: AtomicUsize = AtomicUsize::new(0);

/// The system's allocator, with a count of the bytes in use.
struct Counting;

#[allow(unsafe_code, reason = "an allocator is unsafe to implement")]
// SAFETY: every call goes to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        IN_USE.fetch_add(layout.size(), Relaxed);
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        IN_USE.fetch_sub(layout.size(), Relaxed);
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(pointer, layout) }
    }
}

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/gateway/reload_many/program.sh");

/// A gateway whose heap can be [measured](in_use).
pub(crate) fn gateway(config: impl Into<String>) -> GatewayBuilder {
    let binary = std::env::current_exe().unwrap();
    Gateway::builder(SCRIPT, config).env("TEST_BINARY", binary.to_str().unwrap())
}

/// The bytes that it uses of its heap.
pub(crate) async fn in_use(gateway: &Gateway) -> usize {
    let answers = || {
        let lines = gateway.stdout_lines();
        lines.iter().filter_map(|line| line.strip_prefix("heap ")?.parse().ok()).collect::<Vec<usize>>()
    };
    let before = answers().len();
    gateway.signal(Signal::USR1);
    wait_until("the size of the heap", async || answers().len() > before).await;
    answers()[before]
}

/// No test: what [`gateway`] starts.
#[test]
#[ignore = "it is the gateway that others start"]
fn the_program() {
    let Ok(config) = std::env::var("GATEWAY_CONFIG") else { return };
    let asked = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut signals = asked.block_on(async { signal(SignalKind::user_defined1()).unwrap() });
    std::thread::spawn(move || {
        asked.block_on(async {
            while signals.recv().await.is_some() {
                println!("heap {}", IN_USE.load(Relaxed));
            }
        });
    });
    let cli = gateway::cli::Cli::parse_from(["gateway", "--config", config.as_str()]);
    cli.logging.start().unwrap();
    assert_eq!(cli.execute(), ExitCode::SUCCESS);
}
