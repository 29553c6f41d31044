//! The health of endpoints, as requests see it.

mod active;
mod passive;
mod probed;
mod standing;
mod success_rate;
mod troubled;

pub(in crate::upstream) use self::probed::Probed;
pub(in crate::upstream) use self::standing::Standing;
pub(in crate::upstream) use self::success_rate::SuccessCounts;
pub(in crate::upstream) use self::troubled::Troubled;
