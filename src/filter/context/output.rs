//! Accounting for the bytes that a filter produces in one exchange, and changes to a body that it holds.

use std::cell::Cell;

use super::FilterContext;
use crate::filter::{ByDirection, Direction};

/// A part of an exchange that a filter shares with the peers and with other filters. A filter can remove bytes from it
/// that it has not produced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    Head(Direction),
    Trailers(Direction),
    Properties,
}

/// Bytes that a filter has produced in each [`Part`].
#[derive(Default)]
pub(super) struct Parts {
    heads: ByDirection<Cell<usize>>,
    trailers: ByDirection<Cell<usize>>,
    properties: Cell<usize>,
}

impl Parts {
    fn of(&self, part: Part) -> &Cell<usize> {
        match part {
            Part::Head(direction) => self.heads.of(direction),
            Part::Trailers(direction) => self.trailers.of(direction),
            Part::Properties => &self.properties,
        }
    }
}

/// The reason why a part of a body was not replaced. Nothing has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SpliceError {
    /// The body would exceed the length that the filter may give it.
    TooLong,
    /// The filter would have produced more than `limits.output`.
    Output,
}

impl FilterContext {
    /// Replaces a range of the filter's part of a body. `besides` counts bytes that the filter has produced elsewhere.
    pub(crate) fn splice(
        &self,
        direction: Direction,
        (start, length): (usize, usize),
        data: &[u8],
        besides: usize,
    ) -> Result<(), SpliceError> {
        let side = &mut *self.side(direction).borrow_mut();
        let after = side.buffer.length_after(start, length, data);
        if after > side.bytes_max {
            return Err(SpliceError::TooLong);
        }
        let made = side.made.saturating_add(data.len()).min(after);
        let other = self.side(direction.opposite()).borrow().made;
        let total = [made, other, self.made.get(), besides].into_iter().fold(0, usize::saturating_add);
        if made > side.made && total > self.policy().output_bytes_max {
            return Err(SpliceError::Output);
        }
        side.buffer.splice(start, length, data);
        side.made = made;
        Ok(())
    }

    /// Accounts for bytes that the filter produces and that the gateway holds from now on. Returns false, and accounts
    /// for nothing, if these bytes, all others that the filter has produced and the bytes `besides` exceed
    /// `limits.output`.
    #[must_use]
    pub(crate) fn makes(&self, made: usize, besides: usize) -> bool {
        let fits = made == 0 || self.has_room(made, besides);
        if fits {
            self.made.set(self.made.get().saturating_add(made));
        }
        fits
    }

    /// Does the same as [`FilterContext::makes`] for bytes in a part of the exchange, which holds `held` bytes
    /// including the new ones. The part does not record who produced which of its bytes: the filter has produced at
    /// most all of them, and those that it removes may be another filter's.
    #[must_use]
    pub(crate) fn makes_in(&self, part: Part, made: usize, held: usize, besides: usize) -> bool {
        let account = self.parts.of(part);
        let before = account.get();
        let after = before.saturating_add(made).min(held);
        let fits = after <= before || self.has_room(after - before, besides);
        if fits {
            account.set(after);
            self.made.set(self.made.get().saturating_sub(before).saturating_add(after));
        }
        fits
    }

    fn has_room(&self, bytes: usize, besides: usize) -> bool {
        let [request, response] = [&self.sides.request, &self.sides.response].map(|side| side.borrow().made);
        let total = [bytes, self.made.get(), request, response, besides];
        total.into_iter().fold(0, usize::saturating_add) <= self.policy().output_bytes_max
    }

    /// Accounts for bytes that the filter produced and that the gateway no longer holds.
    pub(crate) fn frees(&self, bytes: usize) {
        self.made.set(self.made.get().saturating_sub(bytes));
    }
}
