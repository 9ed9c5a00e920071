//! Formats numbers, durations and lists for readers.

/// Written in place of a number that is unknown or not finite.
pub(crate) const UNKNOWN: &str = "–";

/// A value as text; a dash for `None`.
pub(crate) fn known<T>(value: Option<T>, write: impl Fn(T) -> String) -> String {
    value.map_or_else(|| UNKNOWN.to_owned(), write)
}

/// The value with `digits` decimals, with the typographic minus sign and without negative zero.
pub(crate) fn fixed(value: f64, digits: usize) -> String {
    if !value.is_finite() {
        return UNKNOWN.to_owned();
    }
    let text = format!("{:.digits$}", value.abs());
    let zero = text.chars().all(|character| matches!(character, '0' | '.'));
    match value < 0.0 && !zero {
        true => format!("−{text}"),
        false => text,
    }
}

/// A fraction as a percentage with one decimal; below 0.95 % with two.
pub(crate) fn percent(fraction: f64) -> String {
    let value = fraction * 100.0;
    if !value.is_finite() {
        return UNKNOWN.to_owned();
    }
    let is_small = value != 0.0 && value.abs() < 0.95;
    format!("{}\u{202f}%", fixed(value, if is_small { 2 } else { 1 }))
}

/// Scientific notation with one decimal.
pub(crate) fn scientific(value: f64) -> String {
    if value.is_finite() {
        format!("{value:.1e}")
    } else {
        UNKNOWN.to_owned()
    }
}

/// Seconds in the unit that fits: seconds, minutes or hours.
pub(crate) fn duration(seconds: f64) -> String {
    if !seconds.is_finite() || seconds < 0.0 {
        return UNKNOWN.to_owned();
    }
    if seconds < 59.95 {
        return format!("{seconds:.1}\u{202f}s");
    }
    let whole = seconds.round() as u64;
    let (hours, minutes, rest) = (whole / 3600, whole / 60 % 60, whole % 60);
    if hours > 0 {
        format!("{hours}\u{202f}h {minutes:02}\u{202f}min")
    } else {
        format!("{minutes}\u{202f}min {rest:02}\u{202f}s")
    }
}

/// A count with commas between thousands.
pub(crate) fn grouped(count: usize) -> String {
    let digits = count.to_string();
    let mut out = String::new();
    for (position, digit) in digits.chars().enumerate() {
        if position > 0 && (digits.len() - position).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// A count and its noun, with a plural `s` where needed.
pub(crate) fn counted(count: usize, noun: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{} {noun}{plural}", grouped(count))
}

/// Joins words as a sentence does: `a, b and c`.
pub(crate) fn enumerate(items: &[String]) -> String {
    match items {
        [] => String::new(),
        [one] => one.clone(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}

/// The text with a capital first letter.
pub(crate) fn capitalised(text: &str) -> String {
    let mut characters = text.chars();
    match characters.next() {
        Some(first) => first.to_uppercase().chain(characters).collect(),
        None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_that_are_not_finite_read_as_unknown() {
        assert_eq!(fixed(f64::NAN, 2), UNKNOWN);
        assert_eq!(percent(f64::INFINITY), UNKNOWN);
        assert_eq!(duration(f64::NAN), UNKNOWN);
        assert_eq!(scientific(f64::NEG_INFINITY), UNKNOWN);
    }

    #[test]
    fn rounded_zero_has_no_sign() {
        assert_eq!(fixed(-0.004, 2), "0.00");
        assert_eq!(fixed(-0.006, 2), "−0.01");
    }

    #[test]
    fn small_percentages_keep_a_second_decimal() {
        assert_eq!(percent(0.0026), "0.26\u{202f}%");
        assert_eq!(percent(0.026), "2.6\u{202f}%");
    }

    #[test]
    fn durations_choose_their_unit() {
        assert_eq!(duration(59.99), "1\u{202f}min 00\u{202f}s");
        assert_eq!(duration(3_725.0), "1\u{202f}h 02\u{202f}min");
    }

    #[test]
    fn counts_are_grouped_by_thousands() {
        assert_eq!(grouped(1_234_567), "1,234,567");
        assert_eq!(counted(1, "epoch"), "1 epoch");
    }
}
