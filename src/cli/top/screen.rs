//! The terminal while `gateway top` runs: it is given back as it was, whatever ends the program.

use std::io::{self, IsTerminal as _};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::thread;
use std::time::Duration;

use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use tokio::signal::unix::{SignalKind, signal};

use super::draw::draw;
use super::look;
use super::view::{Key, View};
use crate::control::admin::Client;

/// The longest time until a look, or a signal, is seen.
const TURN: Duration = Duration::from_millis(200);

/// Shows the gateway until a key or a signal ends it.
///
/// # Errors
/// Returns a sentence if there is no terminal, or it fails.
pub(super) fn show(client: Client) -> Result<(), String> {
    if !io::stdout().is_terminal() || !io::stdin().is_terminal() {
        return Err("`gateway top` needs a terminal; `gateway pools` and `gateway routes` do not".to_owned());
    }
    let failed = |error: io::Error| format!("the terminal fails: {error}");
    let is_stopped = watch_signals().map_err(failed)?;
    let url = client.url().to_owned();
    // The first look before the screen is taken, so that its error is seen.
    let looks = look::begin(client);
    let first = looks.receiver.recv().unwrap_or_else(|_| Err("no look at the gateway".to_owned()))?;
    let mut view = View::new();
    view.see(Ok(first));
    // A panic gives the terminal back as well: `init` sees to it.
    let mut terminal = ratatui::try_init().map_err(failed)?;
    let shown = run(&mut terminal, &mut view, &looks, &url, &is_stopped);
    let restored = ratatui::try_restore();
    shown.and(restored).map_err(failed)
}

fn run(
    terminal: &mut DefaultTerminal,
    view: &mut View,
    looks: &look::Looks,
    url: &str,
    is_stopped: &AtomicBool,
) -> io::Result<()> {
    while !is_stopped.load(Relaxed) {
        while let Ok(look) = looks.receiver.try_recv() {
            view.see(look);
        }
        terminal.draw(|frame| draw(frame, view, url))?;
        if !event::poll(TURN)? {
            continue;
        }
        if let Event::Key(event) = event::read()?
            && let Some(key) = key(event)
            && view.press(key)
        {
            return Ok(());
        }
    }
    Ok(())
}

fn key(event: KeyEvent) -> Option<Key> {
    if event.kind == KeyEventKind::Release {
        return None;
    }
    match event.code {
        KeyCode::Char('c') if event.modifiers.contains(KeyModifiers::CONTROL) => Some(Key::Interrupt),
        KeyCode::Char(character) => Some(Key::Character(character)),
        KeyCode::Tab | KeyCode::BackTab => Some(Key::Tab),
        KeyCode::Up => Some(Key::Up),
        KeyCode::Down => Some(Key::Down),
        KeyCode::Backspace => Some(Key::Backspace),
        KeyCode::Enter => Some(Key::Enter),
        KeyCode::Esc => Some(Key::Escape),
        _ => None,
    }
}

/// Returns a flag that a signal to stop sets.
fn watch_signals() -> io::Result<Arc<AtomicBool>> {
    let is_stopped = Arc::new(AtomicBool::new(false));
    let flag = is_stopped.clone();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut signals = runtime.block_on(async {
        Ok::<_, io::Error>((
            signal(SignalKind::terminate())?,
            signal(SignalKind::interrupt())?,
            signal(SignalKind::hangup())?,
            signal(SignalKind::quit())?,
        ))
    })?;
    thread::spawn(move || {
        runtime.block_on(async {
            tokio::select! {
                _ = signals.0.recv() => {}
                _ = signals.1.recv() => {}
                _ = signals.2.recv() => {}
                _ = signals.3.recv() => {}
            }
        });
        flag.store(true, Relaxed);
    });
    Ok(is_stopped)
}
