//! Counting by valgrind's callgrind.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::{env, fs};

use anyhow::{Context, ensure};

use crate::measures::ROUNDS;

/// What is collected: from where [`crate::counted`] is entered to where it is left.
const COUNTED: &str = "--toggle-collect=*instructions::counted*";

/// Instructions of a measure, each time that it is done.
///
/// # Errors
/// There is no valgrind, or the measure failed.
pub(crate) fn instructions(measure: &str) -> anyhow::Result<u64> {
    let program = env::current_exe()?;
    let profile = profile_of(measure)?;
    let output = Command::new("valgrind")
        .env_clear()
        // Looked up by this process's PATH; what it runs shall not depend on that.
        .envs(env::var_os("PATH").map(|path| ("PATH", path)))
        // Freed memory would go back to the system when its time has come.
        .env("MIMALLOC_PURGE_DELAY", "-1")
        // A `rep movsb` is counted once for each byte.
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

/// Where callgrind writes what it counted, by function and line: beside this program, for `callgrind_annotate`.
fn profile_of(measure: &str) -> anyhow::Result<PathBuf> {
    let program = env::current_exe()?;
    let folder = program.parent().context("a program is in a folder")?.join("callgrind");
    fs::create_dir_all(&folder)?;
    let name: String = measure.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
    Ok(folder.join(name))
}
