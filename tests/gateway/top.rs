//! `gateway top` on a terminal, which it gives back as it was.

use std::process::Output;

use support::{Origin, run_to_exit};

use crate::{PROGRAM, pooled};

async fn top(arguments: &[&str]) -> Output {
    run_to_exit(PROGRAM, &[&["top"], arguments].concat()).await
}

#[tokio::test]
async fn top_without_a_terminal_or_its_feature_says_so() {
    let origin = Origin::answer(pooled::OK);
    let gateway = pooled::to(origin.addr(), "").await;
    let output = top(&["--admin", &gateway.admin_addr().to_string()]).await;
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let error = String::from_utf8(output.stderr).unwrap();
    let expected =
        if cfg!(feature = "top") { "`gateway top` needs a terminal" } else { "without the feature `top`" };
    assert!(error.contains(expected), "{error}");
}

#[cfg(feature = "top")]
mod on_a_terminal {
    use std::io::Write as _;
    use std::path::PathBuf;
    use std::process::{Child, Command, Stdio};

    use support::{Gateway, Origin, Pid, Signal, kill_process, wait_for};

    use crate::{PROGRAM, pooled};

    /// The sequences by which a program takes the whole screen, and gives it back (xterm's 1049).
    const TAKEN: &str = "\x1b[?1049h";
    const GIVEN_BACK: &str = "\x1b[?1049l";

    /// Starts `gateway top` on a terminal of its own, by script(1), which copies what it shows into a file.
    fn start(gateway: &Gateway, file: &str) -> (Child, PathBuf) {
        let shown = gateway.folder().join(file);
        let command = format!("stty rows 24 cols 80; exec {PROGRAM} top --admin {}", gateway.admin_addr());
        let child = Command::new("script")
            .args(["--quiet", "--flush", "--return", "--command", &command])
            .arg(&shown)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        (child, shown)
    }

    /// Returns the process that runs below `script`.
    async fn child_of(script: &Child) -> Pid {
        let file = format!("/proc/{0}/task/{0}/children", script.id());
        let child = wait_for("gateway top", async || {
            let children = std::fs::read_to_string(&file).ok()?;
            Pid::from_raw(children.split_whitespace().next()?.parse().ok()?)
        });
        child.await
    }

    #[tokio::test]
    async fn top_gives_the_terminal_back_after_q_and_after_a_signal() {
        let origin = Origin::answer(pooled::OK);
        let gateway = pooled::to(origin.addr(), "").await;
        assert_eq!(pooled::statuses(&gateway, 2).await, [200; 2]);
        for ends_by_key in [true, false] {
            let (mut script, shown) = start(&gateway, if ends_by_key { "by-key" } else { "by-signal" });
            let text = || String::from_utf8_lossy(&std::fs::read(&shown).unwrap_or_default()).into_owned();
            let is_drawn = || text().contains("pooled") && text().contains("REQ/S");
            wait_for("the screen", async || is_drawn().then_some(())).await;
            assert!(text().contains(TAKEN) && !text().contains(GIVEN_BACK), "{:?}", text());
            if ends_by_key {
                script.stdin.as_mut().unwrap().write_all(b"q").unwrap();
            } else {
                kill_process(child_of(&script).await, Signal::TERM).unwrap();
            }
            wait_for("the terminal", async || text().contains(GIVEN_BACK).then_some(())).await;
            let status = tokio::task::spawn_blocking(move || script.wait().unwrap()).await.unwrap();
            assert!(status.success(), "{status:?}");
        }
    }
}
