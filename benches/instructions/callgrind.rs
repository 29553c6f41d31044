//! Counting with valgrind's callgrind.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::{env, fs};

use anyhow::{Context, ensure};

use crate::measures::ROUNDS;

/// The collection range: from entering [`crate::counted`] to leaving it.
const COUNTED: &str = "--toggle-collect=*instructions::counted*";

/// Returns the instructions of one round of a measure.
///
/// # Errors
/// Returns an error if valgrind is missing or the measure failed.
pub(crate) fn instructions(measure: &str) -> anyhow::Result<u64> {
    let program = env::current_exe()?;
    let profile = profile_of(measure)?;
    let output = Command::new("valgrind")
        .env_clear()
        // Find valgrind by this process's PATH. The measured program should not depend on it.
        .envs(env::var_os("PATH").map(|path| ("PATH", path)))
        // Otherwise freed memory would return to the system at a time that varies.
        .env("MIMALLOC_PURGE_DELAY", "-1")
        // Otherwise a `rep movsb` would count once for each byte.
        .env("GLIBC_TUNABLES", "glibc.cpu.x86_rep_movsb_threshold=1000000000")
        .args(["--tool=callgrind", "--collect-atstart=no", COUNTED])
        .arg(format!("--callgrind-out-file={}", profile.display()))
        .arg(program)
        .args(["--perform", measure])
        .stdin(Stdio::null())
        .output()
        .context("valgrind cannot be run; scripts/instructions.sh installs it")?;
    ensure!(output.status.success(), "{measure}: {}", String::from_utf8_lossy(&output.stderr));
    let text = fs::read_to_string(&profile)?;
    let total =
        text.lines().find_map(|line| line.strip_prefix("totals: ")).and_then(|total| total.parse().ok());
    let total: u64 = total.with_context(|| format!("{} has no total", profile.display()))?;
    ensure!(total > 0, "{measure}: callgrind knows `counted` by another name");
    Ok(total / ROUNDS)
}

/// Returns the file for callgrind's counts by function and line. It is beside this program, for `callgrind_annotate`.
fn profile_of(measure: &str) -> anyhow::Result<PathBuf> {
    let program = env::current_exe()?;
    let folder = program.parent().context("a program is in a folder")?.join("callgrind");
    fs::create_dir_all(&folder)?;
    let name: String = measure.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
    Ok(folder.join(name))
}
