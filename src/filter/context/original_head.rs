//! Original heads, for filters that fail open.

use crate::filter::Direction;
use crate::filter::exchange::{FilteredExchange, RequestHead, ResponseHead};

/// A head as it was before it was given to a filter that fails open.
pub(super) enum OriginalHead {
    Request(Box<RequestHead>),
    Response(Option<Box<ResponseHead>>),
}

impl OriginalHead {
    pub(super) fn of(exchange: &FilteredExchange, direction: Direction) -> Self {
        match direction {
            Direction::Request => Self::Request(Box::new(exchange.request.borrow().clone())),
            Direction::Response => Self::Response(exchange.response.borrow().clone().map(Box::new)),
        }
    }

    pub(super) fn put_back(self, exchange: &FilteredExchange) {
        match self {
            Self::Request(head) => *exchange.request.borrow_mut() = *head,
            Self::Response(head) => *exchange.response.borrow_mut() = head.map(|head| *head),
        }
    }
}
