//! Windows for the body of a request, which the origin's settings and updates change.

use super::super::case::Outcome::*;
use super::*;

#[tokio::test]
async fn windows_of_an_upstream_hold_the_body_of_a_request() {
    run(POST, sections()).await;
}

pub(super) fn sections() -> Vec<Section> {
    vec![
        Section { rfc: "RFC 9113 §6.5.3", cases: synchronization() },
        Section { rfc: "RFC 9113 §6.9.1", cases: windows() },
        Section { rfc: "RFC 9113 §6.9.2", cases: initial_windows() },
    ]
}

/// A case that begins with a setting of INITIAL_WINDOW_SIZE. The gateway sends no request before the settings.
fn with_window(name: &'static str, window: u32) -> Case {
    raw_case(name).sends(settings(&[(4, window)]))
}

/// Lets the rest of the body pass, and responds to the whole request.
fn served(case: Case) -> (Case, Seen) {
    (case.sends(window_update(1, 100)).gets(End(1)).sends(respond(1)), Whole("ok"))
}

fn synchronization() -> Vec<(Case, Seen)> {
    vec![
        served(
            with_window("settings are acknowledged, each frame once, and unknown ones ignored", 0)
                .gets(SettingsAck)
                .sends(settings(&[(0xff, 1), (4, 1)]))
                .gets(SettingsAck)
                .gets(Data(1, b"h")),
        ),
        served(
            raw_case("values are taken in their order")
                .sends(settings(&[(4, 100), (4, 1)]))
                .gets(Data(1, b"h")),
        ),
    ]
}

fn windows() -> Vec<(Case, Seen)> {
    vec![
        served(with_window("no more data than the window", 1).gets(Data(1, b"h"))),
        served(
            with_window("the reserved bit of an update is ignored", 0)
                .gets(Opened(1))
                .sends(window_update(1, 0x8000_0002))
                .gets(Data(1, b"he")),
        ),
    ]
}

fn initial_windows() -> Vec<(Case, Seen)> {
    vec![
        served(
            with_window("a larger value opens the windows of open streams", 0)
                .gets(Opened(1))
                .sends(settings(&[(4, 1)]))
                .gets(Data(1, b"h")),
        ),
        served(
            with_window("a window may be negative", 3)
                .gets(Data(1, b"hel"))
                .sends(settings(&[(4, 2)]))
                .sends(window_update(1, 2))
                .gets(Data(1, b"l")),
        ),
    ]
}
