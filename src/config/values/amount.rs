//! Numbers with a unit, as the file writes them.

use std::fmt;

use super::text::Malformed;

/// Parses `<digits><unit>`. Returns the amount in the smallest unit, the unit, and its factor.
pub(super) fn parse_amount<'u>(
    text: &str,
    units: &[(&'u str, u64)],
    what: &str,
    advice: &str,
) -> Result<(u64, &'u str, u64), Malformed> {
    let split = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (digits, unit) = text.split_at(split);
    let malformed = |message: String| Malformed::new(message).help(advice);
    if digits.is_empty() {
        return Err(malformed(format!("`{text}` is not a {what}")));
    }
    if unit.is_empty() {
        return Err(malformed(format!("`{text}` has no unit")));
    }
    let Some((unit, factor)) = units.iter().find(|(name, _)| *name == unit) else {
        return Err(malformed(format!("`{unit}` is not a unit of a {what}")));
    };
    let amount = digits.parse::<u64>().ok().and_then(|number| number.checked_mul(*factor));
    match amount {
        Some(0) => Err(malformed(format!("`{text}` makes no sense here, a {what} is above zero"))),
        Some(amount) => Ok((amount, unit, *factor)),
        None => Err(malformed(format!("`{text}` is too large"))),
    }
}

/// Prints an amount with the largest unit that divides it.
pub(super) fn print_amount(f: &mut fmt::Formatter<'_>, amount: u64, units: &[(&str, u64)]) -> fmt::Result {
    match units.iter().find(|(_, factor)| amount.is_multiple_of(*factor)) {
        Some((unit, factor)) => write!(f, "{}{unit}", amount / factor),
        None => write!(f, "{amount}"),
    }
}
