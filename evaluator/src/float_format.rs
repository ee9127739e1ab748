//! The three ways in which Nix writes floats: `%g` where a value is printed, `%f` where `toString` makes a string, and the
//! short form that reads back the same in JSON. ISO C, 7.23.6.1 (fprintf); RFC 8259.

mod grisu;

/// As `%g`: six significant digits, no trailing zeros, an exponent below 1e-4 and from 1e6. For printed values and XML.
pub fn print_g(value: f64) -> String {
    if let Some(word) = not_finite(value) {
        return word.to_owned();
    }
    if value == 0.0 {
        return if value.is_sign_negative() { "-0" } else { "0" }.to_owned();
    }
    let scientific = format!("{value:.5e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if !(-4..6).contains(&exponent) {
        return format!("{}e{}", without_trailing_zeros(digits), c_exponent(exponent));
    }
    let decimals = usize::try_from(5 - exponent).unwrap_or(0);
    without_trailing_zeros(&format!("{value:.decimals$}")).to_owned()
}

/// As `%f`: six decimals. For `toString`.
pub fn print_f(value: f64) -> String {
    not_finite(value).map_or_else(|| format!("{value:.6}"), str::to_owned)
}

/// A short decimal that reads back as the same float, always recognisable as one; `null` for what JSON cannot say.
pub fn print_json(value: f64) -> String {
    if !value.is_finite() {
        return "null".to_owned();
    }
    let sign = if value.is_sign_negative() { "-" } else { "" };
    if value == 0.0 {
        return format!("{sign}0.0");
    }
    let (digits, last) = grisu::digits(value.abs());
    let digits = String::from_utf8_lossy(&digits);
    let count = digits.len();
    // Where the point stands, counted from the first digit.
    let point = i32::try_from(count).unwrap_or(0) + last;
    // Plain from 0.0001 to below 1e15, as the C++ JSON library in Nix has it.
    match usize::try_from(point) {
        Ok(point @ 1..=15) if point >= count => format!("{sign}{digits:0<point$}.0"),
        Ok(point @ 1..=15) => format!("{sign}{}.{}", &digits[..point], &digits[point..]),
        _ if (-3..=0).contains(&point) => {
            format!("{sign}0.{}{digits}", "0".repeat(point.unsigned_abs() as usize))
        }
        _ => {
            let (first, rest) = digits.split_at(1);
            let dot = if rest.is_empty() { "" } else { "." };
            format!("{sign}{first}{dot}{rest}e{}", c_exponent(point - 1))
        }
    }
}

fn not_finite(value: f64) -> Option<&'static str> {
    if value.is_nan() {
        Some(if value.is_sign_negative() { "-nan" } else { "nan" })
    } else if value.is_infinite() {
        Some(if value.is_sign_negative() { "-inf" } else { "inf" })
    } else {
        None
    }
}

/// A sign and two digits at least.
fn c_exponent(exponent: i32) -> String {
    format!("{}{:02}", if exponent < 0 { '-' } else { '+' }, exponent.unsigned_abs())
}

fn without_trailing_zeros(digits: &str) -> &str {
    if digits.contains('.') { digits.trim_end_matches('0').trim_end_matches('.') } else { digits }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_as_nix_does() {
        for (value, g, f, json) in [
            (1.0, "1", "1.000000", "1.0"),
            (0.5, "0.5", "0.500000", "0.5"),
            (-2.25, "-2.25", "-2.250000", "-2.25"),
            (1e6, "1e+06", "1000000.000000", "1000000.0"),
            (999_999.5, "1e+06", "999999.500000", "999999.5"),
            (123_456.789, "123457", "123456.789000", "123456.789"),
            (1e-7, "1e-07", "0.000000", "1e-07"),
            (0.0001, "0.0001", "0.000100", "0.0001"),
            (0.00001, "1e-05", "0.000010", "1e-05"),
            (1e15, "1e+15", "1000000000000000.000000", "1e+15"),
            (1e14, "1e+14", "100000000000000.000000", "100000000000000.0"),
            (123_456_789_012_345_680.0, "1.23457e+17", "123456789012345680.000000", "1.2345678901234568e+17"),
            (0.0, "0", "0.000000", "0.0"),
            (-0.0, "-0", "-0.000000", "-0.0"),
            (1e300, "1e+300", &format!("{:.6}", 1e300), "1e+300"),
        ] {
            assert_eq!(
                (print_g(value).as_str(), print_f(value).as_str(), print_json(value).as_str()),
                (g, f, json),
                "{value}"
            );
        }
    }
}
