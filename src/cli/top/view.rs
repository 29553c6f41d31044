//! The part of a look that is shown: a table, its order, and its filter.

use super::look::Look;
use crate::cli::tables::rows::{Pool, Route};
use crate::cli::tables::{pools, routes};

/// A table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Table {
    Routes,
    Pools,
}

/// An order of the rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    Attention,
    Name,
    Rate,
    P99,
}

impl Order {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Attention => "attention",
            Self::Name => "name",
            Self::Rate => "requests",
            Self::P99 => "p99",
        }
    }

    fn next(self) -> Self {
        match self {
            Self::Attention => Self::Name,
            Self::Name => Self::Rate,
            Self::Rate => Self::P99,
            Self::P99 => Self::Attention,
        }
    }
}

/// A key, as far as it means something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Key {
    Character(char),
    Tab,
    Up,
    Down,
    Backspace,
    Enter,
    Escape,
    Interrupt,
}

/// The state of the screen.
#[derive(Debug, Clone)]
pub(super) struct View {
    pub(super) table: Table,
    pub(super) order: Order,
    pub(super) filter: String,
    /// True while the filter is being written.
    pub(super) is_writing: bool,
    /// The rows above the first one that is shown.
    pub(super) scrolled: usize,
    pub(super) look: Look,
    /// The reason why the last look is an older one.
    pub(super) error: Option<String>,
}

impl View {
    pub(super) fn new() -> Self {
        Self {
            table: Table::Routes,
            order: Order::Attention,
            filter: String::new(),
            is_writing: false,
            scrolled: 0,
            look: Look::default(),
            error: None,
        }
    }

    /// Takes a look, or the reason why there is none: then the last one stays.
    pub(super) fn see(&mut self, look: Result<Look, String>) {
        match look {
            Ok(look) => (self.look, self.error) = (look, None),
            Err(error) => self.error = Some(error),
        }
    }

    /// Acts on a key. Returns true if it ends the program.
    pub(super) fn press(&mut self, key: Key) -> bool {
        if key == Key::Interrupt {
            return true;
        }
        if self.is_writing {
            match key {
                Key::Character(character) => self.filter.push(character),
                Key::Backspace => drop(self.filter.pop()),
                Key::Enter => self.is_writing = false,
                Key::Escape => (self.is_writing, self.filter) = (false, String::new()),
                _ => {}
            }
            self.scrolled = 0;
            return false;
        }
        match key {
            Key::Character('q') | Key::Escape => return true,
            Key::Character('/') => self.is_writing = true,
            Key::Character('s') => self.order = self.order.next(),
            Key::Tab => {
                self.table = if self.table == Table::Routes { Table::Pools } else { Table::Routes };
                self.scrolled = 0;
            }
            Key::Up | Key::Character('k') => self.scrolled = self.scrolled.saturating_sub(1),
            Key::Down | Key::Character('j') => self.scrolled = (self.scrolled + 1).min(self.last()),
            _ => {}
        }
        false
    }

    /// Returns the position of the last row.
    fn last(&self) -> usize {
        let rows = match self.table {
            Table::Routes => self.routes().len(),
            Table::Pools => self.pools().len(),
        };
        rows.saturating_sub(1)
    }

    /// Returns the routes that the filter leaves, in their order.
    pub(super) fn routes(&self) -> Vec<Route> {
        let mut rows = self.look.routes.clone();
        rows.retain(|route| self.passes(&[&route.name, &route.matches]));
        routes::sort(&mut rows);
        let p99 = |route: &Route| route.recent.p99_seconds.unwrap_or_default();
        match self.order {
            Order::Attention => {}
            Order::Name => rows.sort_by(|one, other| one.name.cmp(&other.name)),
            Order::Rate => rows.sort_by(|one, other| other.recent.rate.total_cmp(&one.recent.rate)),
            Order::P99 => rows.sort_by(|one, other| p99(other).total_cmp(&p99(one))),
        }
        rows
    }

    /// Returns the pools that the filter leaves, in their order.
    pub(super) fn pools(&self) -> Vec<Pool> {
        let mut rows = self.look.pools.clone();
        rows.retain(|pool| self.passes(&[&pool.pool, &pool.endpoint, &pool.address]));
        pools::sort(&mut rows);
        let recent = |pool: &Pool| pool.recent.clone().unwrap_or_default();
        let p99 = |pool: &Pool| recent(pool).acquire_p99_seconds.unwrap_or_default();
        match self.order {
            Order::Attention => {}
            Order::Name => rows.sort_by(|one, other| one.pool.cmp(&other.pool)),
            Order::Rate => rows.sort_by(|one, other| recent(other).rate.total_cmp(&recent(one).rate)),
            Order::P99 => rows.sort_by(|one, other| p99(other).total_cmp(&p99(one))),
        }
        rows
    }

    fn passes(&self, texts: &[&str]) -> bool {
        let filter = self.filter.to_lowercase();
        filter.is_empty() || texts.iter().any(|text| text.to_lowercase().contains(&filter))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::tables::rows::RouteRecent;

    fn view() -> View {
        let route = |name: &str, rate, error_share, p99| Route {
            name: name.to_owned(),
            recent: RouteRecent {
                rate,
                error_share: Some(error_share),
                p99_seconds: Some(p99),
                ..Default::default()
            },
            ..Route::default()
        };
        let routes = vec![
            route("users", 5.0, 0.0, 0.3),
            route("orders", 9.0, 0.0, 0.1),
            route("Broken-users", 1.0, 1.0, 0.2),
        ];
        let mut view = View::new();
        view.see(Ok(Look { routes, ..Look::default() }));
        view
    }

    fn names(view: &View) -> Vec<String> {
        view.routes().into_iter().map(|route| route.name).collect()
    }

    #[test]
    fn s_changes_the_order() {
        let mut view = view();
        for order in [
            ["Broken-users", "orders", "users"],
            ["Broken-users", "orders", "users"],
            ["orders", "users", "Broken-users"],
            ["users", "Broken-users", "orders"],
            ["Broken-users", "orders", "users"],
        ] {
            assert_eq!(names(&view), order, "{:?}", view.order);
            assert!(!view.press(Key::Character('s')));
        }
    }

    #[test]
    fn filter_is_written_until_enter_and_q_is_a_letter_of_it() {
        let mut view = view();
        for key in [Key::Character('/'), Key::Character('u'), Key::Character('q'), Key::Backspace] {
            assert!(!view.press(key));
        }
        assert!(!view.press(Key::Character('s')) && !view.press(Key::Enter));
        assert_eq!(
            (view.filter.as_str(), names(&view)),
            ("us", vec!["Broken-users".to_owned(), "users".to_owned()])
        );
        assert!(!view.press(Key::Character('/')) && !view.press(Key::Escape));
        assert_eq!((view.filter.as_str(), names(&view).len()), ("", 3));
        assert!(view.press(Key::Character('q')) && view.press(Key::Interrupt));
    }

    #[test]
    fn rows_scroll_no_further_than_the_last() {
        let mut view = view();
        for _ in 0..9 {
            view.press(Key::Down);
        }
        assert_eq!(view.scrolled, 2);
        view.press(Key::Up);
        assert_eq!(view.scrolled, 1);
        view.press(Key::Tab);
        assert_eq!((view.table, view.scrolled), (Table::Pools, 0));
    }

    #[test]
    fn look_that_fails_leaves_the_last_one() {
        let mut view = view();
        view.see(Err("no answer".to_owned()));
        assert_eq!((view.error.as_deref(), names(&view).len()), (Some("no answer"), 3));
        view.see(Ok(Look::default()));
        assert_eq!((view.error, view.look.routes.len()), (None, 0));
    }
}
