//! Host names in other scripts, for advice: `bücher.example` is `xn--bcher-kva.example` in DNS.

const BASE: u32 = 36;
const T_MIN: u32 = 1;
const T_MAX: u32 = 26;

/// Returns the advice for a host name with letters beyond ASCII.
pub(crate) fn advise(host: &str) -> Option<String> {
    to_ascii(host).map(|ascii| format!("write the name as DNS has it: `{ascii}`"))
}

/// Returns a host name as DNS has it (RFC 5891 §4.4), if it has letters beyond ASCII.
///
/// This is only for advice: it does not check which characters a registry permits. It returns `None` for text with
/// combining marks, which would have to be composed first.
fn to_ascii(host: &str) -> Option<String> {
    let is_composed = !host.chars().any(|character| matches!(character, '\u{300}'..='\u{36f}'));
    let is_name = host.chars().all(|character| character.is_alphanumeric() || "-._*".contains(character));
    if host.is_ascii() || !is_composed || !is_name {
        return None;
    }
    let labels: Option<Vec<String>> = host.to_lowercase().split('.').map(label).collect();
    labels.map(|labels| labels.join("."))
}

fn label(label: &str) -> Option<String> {
    if label.is_ascii() {
        return Some(label.to_owned());
    }
    let encoded = format!("xn--{}", encode(label)?);
    (encoded.len() <= 63).then_some(encoded)
}

/// Encodes a label (RFC 3492 §6.3).
fn encode(label: &str) -> Option<String> {
    let mut output: String = label.chars().filter(char::is_ascii).collect();
    let basic = u32::try_from(output.len()).ok()?;
    if basic > 0 {
        output.push('-');
    }
    let length = u32::try_from(label.chars().count()).ok()?;
    let (mut code, mut delta, mut bias, mut handled) = (128_u32, 0_u32, 72_u32, basic);
    while handled < length {
        let next = label.chars().map(u32::from).filter(|character| *character >= code).min()?;
        delta = delta.checked_add((next - code).checked_mul(handled + 1)?)?;
        code = next;
        for character in label.chars().map(u32::from) {
            if character < code {
                delta = delta.checked_add(1)?;
            } else if character == code {
                push_number(&mut output, delta, bias)?;
                bias = adapt(delta, handled + 1, handled == basic);
                (delta, handled) = (0, handled + 1);
            }
        }
        (delta, code) = (delta.checked_add(1)?, code + 1);
    }
    Some(output)
}

fn push_number(output: &mut String, mut number: u32, bias: u32) -> Option<()> {
    let mut position = BASE;
    loop {
        let threshold = position.saturating_sub(bias).clamp(T_MIN, T_MAX);
        if number < threshold {
            output.push(char::from_digit(number, BASE).map(digit)?);
            return Some(());
        }
        let value = threshold + (number - threshold) % (BASE - threshold);
        output.push(char::from_digit(value, BASE).map(digit)?);
        number = (number - threshold) / (BASE - threshold);
        position += BASE;
    }
}

/// Returns the Punycode digit: they run from `a` to `z` and then from `0` to `9`, unlike those of the standard library.
fn digit(character: char) -> char {
    let value = character.to_digit(BASE).unwrap_or_default();
    let code = if value < 26 { u32::from('a') + value } else { u32::from('0') + value - 26 };
    char::from_u32(code).unwrap_or_default()
}

fn adapt(delta: u32, points: u32, is_first: bool) -> u32 {
    let mut delta = if is_first { delta / 700 } else { delta / 2 };
    delta += delta / points;
    let mut steps = 0;
    while delta > ((BASE - T_MIN) * T_MAX) / 2 {
        delta /= BASE - T_MIN;
        steps += BASE;
    }
    steps + (BASE - T_MIN + 1) * delta / (delta + 38)
}

#[cfg(test)]
mod tests {
    use super::to_ascii;

    #[test]
    fn a_name_in_another_script_has_the_form_of_dns() {
        for (host, ascii) in [
            ("bücher.example", Some("xn--bcher-kva.example")),
            ("München.de", Some("xn--mnchen-3ya.de")),
            ("faß.de", Some("xn--fa-hia.de")),
            ("*.例え.jp", Some("*.xn--r8jz45g.jp")),
            ("правда.рф", Some("xn--80aafi6cg.xn--p1ai")),
            ("😀.example", None),
            ("u\u{308}.example", None),
            ("plain.example", None),
            ("http://ü", None),
            ("", None),
        ] {
            assert_eq!(to_ascii(host).as_deref(), ascii, "{host}");
        }
        assert_eq!(to_ascii(&format!("{}.de", "ü".repeat(80))), None);
    }
}
