//! `Date` (RFC 9110 §6.6.1), which is formatted once a second.

use std::cell::{Cell, RefCell};
use std::time::{SystemTime, UNIX_EPOCH};

use http::HeaderValue;

thread_local! {
    static SECOND: Cell<u64> = const { Cell::new(0) };
    static DATE: RefCell<HeaderValue> = const { RefCell::new(HeaderValue::from_static("")) };
}

/// Calls `read` with the present date.
pub(crate) fn with_date<T>(read: impl FnOnce(&HeaderValue) -> T) -> T {
    let now = SystemTime::now();
    let second = now.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    DATE.with_borrow_mut(|date| {
        if SECOND.replace(second) != second
            && let Ok(formatted) = HeaderValue::from_str(&httpdate::fmt_http_date(now))
        {
            *date = formatted;
        }
        read(date)
    })
}
