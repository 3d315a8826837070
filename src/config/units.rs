//! Byte sizes as people write them.
//!
//! A size is a number and a unit: `4MiB`, `16 MB`, `512K`, `1_048_576`. `KiB MiB GiB TiB PiB` and
//! the short forms `K M G T P` (as in fio) are powers of 1024; `kB MB GB TB PB` are powers of 1000;
//! no unit and `B` are bytes. Upper and lower case do not matter (`4mib`, `512k`, `16mb`), with one
//! exception: an upper-case prefix before a lower-case `b` (`Mb`, `Gb`) usually means bits and is
//! refused rather than guessed.

/// Prefix letters in rising order; the power of a prefix is its position plus one.
const PREFIXES: &str = "kmgtp";

/// Units that [`format_bytes_iec`] uses, with their size.
const IEC_UNITS: [(&str, u64); 5] =
    [("PiB", 1 << 50), ("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];

/// Reads a size in whole bytes. A fraction is fine as long as the result is whole (`1.5KiB`, `0.5
/// GB`).
///
/// Errors are one sentence that quotes the text and says what is allowed; they suit clap's
/// `value_parser`.
pub fn parse_bytes(text: &str) -> Result<u64, String> {
    let (number, unit) = split_unit(text)?;
    let decimal = Decimal::parse(number).ok_or_else(|| not_a_size(text))?;
    let scaled = decimal.digits.checked_mul(u128::from(unit)).ok_or_else(|| too_large(text))?;
    let whole = decimal.shift(scaled).ok_or_else(|| too_large(text))?;
    let whole = whole.ok_or_else(|| format!("`{text}` is not a whole number of bytes"))?;
    u64::try_from(whole).map_err(|_| too_large(text))
}

/// Reads a mean size, which need not be whole bytes (`114660.07`, `1.3kB`). Finite and not
/// negative.
pub fn parse_mean_bytes(text: &str) -> Result<f64, String> {
    let (number, unit) = split_unit(text)?;
    Decimal::parse(number).ok_or_else(|| not_a_size(text))?;
    let value: f64 = number.replace('_', "").parse().map_err(|_| not_a_size(text))?;
    let bytes = value * unit as f64;
    if bytes.is_finite() { Ok(bytes) } else { Err(too_large(text)) }
}

/// Writes a size exactly: in the largest IEC unit that divides it (`4 MiB`), else in bytes (`4097
/// B`). [`parse_bytes`] reads it back to the same number.
pub fn format_bytes_iec(bytes: u64) -> String {
    for (unit, size) in IEC_UNITS {
        if bytes >= size && bytes.is_multiple_of(size) {
            return format!("{} {unit}", bytes / size);
        }
    }
    format!("{bytes} B")
}

/// Removes the underscores of `514_983_574`. None unless each stands between two digits.
pub(crate) fn without_underscores(text: &str) -> Option<String> {
    let bytes = text.as_bytes();
    let digit = |at: Option<usize>| {
        at.and_then(|at| bytes.get(at)).is_some_and(|byte| byte.is_ascii_digit())
    };
    let misplaced = bytes
        .iter()
        .enumerate()
        .any(|(at, &byte)| byte == b'_' && !(digit(at.checked_sub(1)) && digit(Some(at + 1))));
    (!misplaced).then(|| text.replace('_', ""))
}

fn not_a_size(text: &str) -> String {
    format!("`{text}` is not a size; write bytes or a unit, such as 4096, 4MiB, 16 MB or 512K")
}

fn too_large(text: &str) -> String {
    format!("`{text}` is too large; the largest size is 16 EiB - 1")
}

/// Splits a size into its number and the bytes of its unit.
fn split_unit(text: &str) -> Result<(&str, u64), String> {
    let trimmed = text.trim();
    let mut end = trimmed.len();
    // From the right, so that the `e` of `1e6` stays with the number: a unit has no digit after it.
    while let Some(letter) = trimmed[..end].chars().next_back().filter(char::is_ascii_alphabetic) {
        end -= letter.len_utf8();
    }
    let (number, unit) = (trimmed[..end].trim_end(), &trimmed[end..]);
    if number.is_empty() {
        return Err(not_a_size(text));
    }
    let size = unit_bytes(unit).ok_or_else(|| match unit.as_bytes() {
        [prefix, b'b'] if prefix.is_ascii_uppercase() => {
            format!("`{text}`: `{unit}` may mean bits; write {0}B or {0}iB", unit_prefix(unit))
        }
        _ => format!(
            "`{text}`: unknown unit `{unit}`; units are B, KiB, MiB, GiB, TiB, PiB and K, M, G, T, \
             P (1024), kB, MB, GB, TB, PB (1000)"
        ),
    })?;
    Ok((number, size))
}

fn unit_prefix(unit: &str) -> &str {
    &unit[..unit.len() - 1]
}

fn unit_bytes(unit: &str) -> Option<u64> {
    let mixed = unit.len() == 2 && unit.starts_with(|c: char| c.is_ascii_uppercase());
    if mixed && unit.ends_with('b') {
        return None;
    }
    let lower = unit.to_ascii_lowercase();
    let Some(prefix) = lower.chars().next().filter(|&letter| letter != 'b') else {
        return matches!(lower.as_str(), "" | "b").then_some(1);
    };
    let power = PREFIXES.find(prefix)? as u32 + 1;
    match &lower[1..] {
        "" | "i" | "ib" => Some(1024u64.pow(power)),
        "b" => Some(1000u64.pow(power)),
        _ => None,
    }
}

/// A decimal number kept exact: `digits * 10^exponent`.
struct Decimal {
    digits: u128,
    exponent: i32,
}

impl Decimal {
    /// Reads `12`, `1_000`, `1.5`, `1e6`; no sign.
    fn parse(text: &str) -> Option<Decimal> {
        let plain = without_underscores(text)?;
        let (mantissa, exponent) = match plain.split_once(['e', 'E']) {
            Some((mantissa, exponent)) => (mantissa, exponent.parse::<i16>().ok()?),
            None => (plain.as_str(), 0),
        };
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let all = format!("{whole}{fraction}");
        if all.is_empty() || !all.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let exponent = i32::from(exponent) - i32::try_from(fraction.len()).ok()?;
        Some(Decimal { digits: all.parse().ok()?, exponent })
    }

    /// `scaled * 10^exponent`: None when too large, Some(None) when not whole.
    fn shift(&self, scaled: u128) -> Option<Option<u128>> {
        if scaled == 0 {
            return Some(Some(0));
        }
        let Some(power) = 10u128.checked_pow(self.exponent.unsigned_abs()) else {
            return if self.exponent > 0 { None } else { Some(None) };
        };
        if self.exponent >= 0 {
            return scaled.checked_mul(power).map(Some);
        }
        Some(scaled.is_multiple_of(power).then(|| scaled / power))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn units_have_their_sizes() {
        let cases = [
            ("0", 0),
            ("4096", 4096),
            ("514_983_574", 514_983_574),
            ("7B", 7),
            ("1e6", 1_000_000),
            ("4MiB", 4 << 20),
            ("4mib", 4 << 20),
            ("4Mi", 4 << 20),
            ("512k", 512 << 10),
            ("512K", 512 << 10),
            ("16 MB", 16_000_000),
            ("16mb", 16_000_000),
            ("1kB", 1000),
            ("1KB", 1000),
            ("1KiB", 1024),
            (" 256GiB ", 256 << 30),
            ("2T", 2 << 40),
            ("3TB", 3_000_000_000_000),
            ("1.5KiB", 1536),
            ("0.5 GB", 500_000_000),
            ("1P", 1 << 50),
            ("18446744073709551615", u64::MAX),
        ];
        for (text, bytes) in cases {
            assert_eq!(parse_bytes(text), Ok(bytes), "{text}");
        }
    }

    #[test]
    fn refusals_say_what_is_allowed() {
        let cases = [
            ("16Mb", "`16Mb`: `Mb` may mean bits; write MB or MiB"),
            (
                "4XB",
                "`4XB`: unknown unit `XB`; units are B, KiB, MiB, GiB, TiB, PiB and K, M, G, T, P \
                 (1024), kB, MB, GB, TB, PB (1000)",
            ),
            ("17179869184G", "`17179869184G` is too large; the largest size is 16 EiB - 1"),
            ("1e999", "`1e999` is too large; the largest size is 16 EiB - 1"),
            ("1.50", "`1.50` is not a whole number of bytes"),
            ("1e-999", "`1e-999` is not a whole number of bytes"),
        ];
        for (text, message) in cases {
            assert_eq!(parse_bytes(text), Err(message.to_string()), "{text}");
        }
        for text in ["", "-4", "MiB", "4_", ".", "0x10"] {
            let message = format!(
                "`{text}` is not a size; write bytes or a unit, such as 4096, 4MiB, 16 MB or 512K"
            );
            assert_eq!(parse_bytes(text), Err(message), "{text}");
        }
    }

    #[test]
    fn means_keep_their_fraction() {
        assert_eq!(parse_mean_bytes("114660.07"), Ok(114660.07));
        assert_eq!(parse_mean_bytes("16MiB"), Ok(16777216.0));
        assert_eq!(parse_mean_bytes("1.3kB"), Ok(1300.0));
        assert!(parse_mean_bytes("nan").is_err());
        assert!(parse_mean_bytes("-1").is_err());
    }

    #[test]
    fn sizes_are_written_exactly() {
        assert_eq!(format_bytes_iec(0), "0 B");
        assert_eq!(format_bytes_iec(4097), "4097 B");
        assert_eq!(format_bytes_iec(4 << 20), "4 MiB");
        assert_eq!(format_bytes_iec(1536), "1536 B");
        assert_eq!(format_bytes_iec(3 << 40), "3 TiB");
    }

    proptest! {
        #[test]
        fn a_written_size_reads_back(bytes in any::<u64>(), shift in 0u32..64) {
            let bytes = bytes >> shift << (shift / 2);
            prop_assert_eq!(parse_bytes(&format_bytes_iec(bytes)), Ok(bytes));
        }

        #[test]
        fn any_text_is_read_or_refused(text in "\\PC{0,12}") {
            let _ = parse_bytes(&text);
            let _ = parse_mean_bytes(&text);
        }
    }
}
