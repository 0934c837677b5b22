//! Exact arithmetic: every figure of the files has at most four decimals, and only the end of a calculation is rounded.

use std::fmt;

/// A number in ten-thousandths.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fixed(i64);

/// Dollars in cents.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cents(pub i64);

/// Decimals of a [`Fixed`].
const PLACES: usize = 4;

impl Fixed {
    /// One.
    pub const ONE: Self = Self(10_000);

    /// Reads a number such as `32.3465`, `1` or `.50`, with at most four decimals that are not 0 and seven digits
    /// before them; no sign, no exponent.
    pub fn parse(text: &str) -> Option<Self> {
        let (whole, decimals) = text.split_once('.').unwrap_or((text, ""));
        let decimals = decimals.trim_end_matches('0');
        let are_digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
        let is_number = !text.is_empty() && text != "." && are_digits(whole) && are_digits(decimals);
        if !is_number || whole.len() > 7 || decimals.len() > PLACES {
            return None;
        }
        let digits = format!("0{whole}{decimals:0<PLACES$}");
        digits.parse().ok().map(Self)
    }

    /// In ten-thousandths.
    pub fn ten_thousandths(self) -> i64 {
        self.0
    }

    pub(crate) fn is_zero(self) -> bool {
        self.0 == 0
    }
}

/// The sum of products, times a factor, rounded once: half a cent goes up.
pub(crate) fn price(products: [(Fixed, Fixed); 3], factor: Fixed) -> Cents {
    let sum: i128 = products.iter().map(|(value, index)| i128::from(value.0) * i128::from(index.0)).sum();
    round(sum * i128::from(factor.0), 12)
}

/// A product, rounded as [`price`] does.
pub(crate) fn times(value: Fixed, factor: Fixed) -> Cents {
    round(i128::from(value.0) * i128::from(factor.0), 8)
}

fn round(exact: i128, places: u32) -> Cents {
    let cent = 10_i128.pow(places - 2);
    // The largest figures that can be read give far less than an i64 holds of cents.
    Cents(i64::try_from((exact + cent / 2).div_euclid(cent)).unwrap_or(i64::MAX))
}

impl fmt::Display for Cents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.0 < 0 { "-" } else { "" };
        write!(f, "{sign}{}.{:02}", self.0.unsigned_abs() / 100, self.0.unsigned_abs() % 100)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn numbers_are_read_exactly_or_not_at_all() {
        for (text, expected) in [
            ("32.3465", Some(323_465)),
            ("1", Some(10_000)),
            (".5", Some(5_000)),
            ("0.50000", Some(5_000)),
            ("3.", Some(30_000)),
            ("", None),
            (".", None),
            ("1.23456", None),
            ("-1", None),
            ("+1", None),
            ("1e3", None),
            ("1,000.00", None),
            ("NA", None),
            ("12345678", None),
            ("١", None),
        ] {
            assert_eq!(Fixed::parse(text).map(Fixed::ten_thousandths), expected, "{text:?}");
        }
    }

    #[test]
    fn only_the_end_is_rounded_and_half_a_cent_goes_up() {
        let fixed = |text| Fixed::parse(text).unwrap();
        assert_eq!(times(fixed("0.5"), fixed("0.01")), Cents(1));
        assert_eq!(times(fixed("0.49"), fixed("0.01")), Cents(0));
        // Each term alone would be 0.00.
        let third = (fixed("0.004"), Fixed::ONE);
        assert_eq!(price([third; 3], Fixed::ONE), Cents(1));
        assert_eq!(Cents(1_605).to_string(), "16.05");
        assert_eq!(Cents(-5).to_string(), "-0.05");
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(value in 0i64..100_000_000_000) {
            let text = format!("{}.{:04}", value / 10_000, value % 10_000);
            prop_assert_eq!(Fixed::parse(&text), Some(Fixed(value)));
        }

        #[test]
        fn no_text_makes_it_panic(text in ".{0,12}") {
            if let Some(value) = Fixed::parse(&text) {
                prop_assert!(value.ten_thousandths() >= 0);
            }
        }
    }
}
