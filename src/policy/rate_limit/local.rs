//! The store of limits that this process keeps alone: its table. A store that gateways share is a neighbour of this file.

use std::sync::OnceLock;

use super::gcra::{Admitted, Gcra};
use super::key::Key;
use super::table::{KeyHash, Table, TableReport};

/// The table of all limits. It exists from the first limit on.
static TABLE: OnceLock<Table> = OnceLock::new();

fn table() -> &'static Table {
    TABLE.get_or_init(Table::new)
}

/// Returns the counts of the table.
pub(crate) fn report() -> TableReport {
    TABLE.get().map(Table::report).unwrap_or_default()
}

/// Returns the hash of a key of the limit `id`.
pub(super) fn hash(id: u64, key: &Key<'_>) -> KeyHash {
    table().hash(id, key)
}

/// Charges a request to a key, if it has credit.
///
/// # Errors
/// Returns the time until a request would be admitted.
pub(super) fn charge(key: KeyHash, limit: &Gcra, now: u64) -> Result<Admitted, u64> {
    let charged = table().update(key, limit.tolerance(), now, |state| {
        let taken = limit.take(state, now);
        let changed =
            taken.as_ref().map_or_else(|_| limit.settle(state, now), |admitted| Some(admitted.state));
        (changed, taken)
    });
    charged.unwrap_or_else(|crowded| Err(crowded.0))
}

/// Returns the state of a key.
pub(super) fn peek(key: KeyHash, limit: &Gcra, now: u64) -> u64 {
    let look = |state| (limit.settle(state, now), state);
    table().update(key, limit.tolerance(), now, look).unwrap_or_default()
}

/// Takes back a charge.
pub(super) fn give_back(key: KeyHash, limit: &Gcra) {
    // A key without a state has all of its credit.
    let given_back = |state: u64| (Some(limit.give_back(state)).filter(|_| state > 0), ());
    table().update(key, limit.tolerance(), 0, given_back).unwrap_or_default();
}
