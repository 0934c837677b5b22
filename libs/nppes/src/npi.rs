//! National Provider Identifiers and their check digit.

use std::fmt;
use std::str::FromStr;

/// What the prefix 80840, which the check digit covers though it is never written, adds to the Luhn sum.
const PREFIX_SUM: u32 = 24;

/// A National Provider Identifier: ten digits, the first 1 or 2, the last a Luhn check digit over `80840` and the rest
/// (45 CFR 162.406, ISO/IEC 7812-1). That it is well formed does not mean that it was ever issued.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Npi(u32);

/// Why a text is no National Provider Identifier. It never repeats the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NpiError {
    /// It does not have ten characters.
    #[error("an NPI has exactly ten digits")]
    Length,
    /// A character is not one of the ASCII digits.
    #[error("an NPI has only the digits 0 to 9")]
    Digit,
    /// The first digit is not 1 or 2.
    #[error("an NPI starts with 1 or 2")]
    FirstDigit,
    /// The last digit is not the check digit of the others.
    #[error("the NPI's check digit does not fit: a digit is wrong or two are swapped")]
    CheckDigit,
}

impl Npi {
    /// Reads an identifier from text, which must have nothing before or after it.
    pub fn parse(text: &str) -> Result<Self, NpiError> {
        Self::from_bytes(text.as_bytes())
    }

    /// As [`Npi::parse`], for bytes that need not be UTF-8.
    pub fn from_bytes(text: &[u8]) -> Result<Self, NpiError> {
        let digits: &[u8; 10] = text.try_into().map_err(|_| NpiError::Length)?;
        if !digits.iter().all(u8::is_ascii_digit) {
            return Err(NpiError::Digit);
        }
        if !matches!(digits[0], b'1' | b'2') {
            return Err(NpiError::FirstDigit);
        }
        if !luhn_sum(digits).is_multiple_of(10) {
            return Err(NpiError::CheckDigit);
        }
        Ok(Self(digits.iter().fold(0, |value, digit| value * 10 + u32::from(digit - b'0'))))
    }

    /// Reads an identifier from a number, as the older answers of the registry and some data sets have it.
    pub fn from_number(number: u64) -> Result<Self, NpiError> {
        if !(1_000_000_000..10_000_000_000).contains(&number) {
            return Err(NpiError::Length);
        }
        let mut digits = [b'0'; 10];
        let mut rest = number;
        for digit in digits.iter_mut().rev() {
            *digit = b'0' + (rest % 10) as u8;
            rest /= 10;
        }
        Self::from_bytes(&digits)
    }

    /// The identifier with the check digit that belongs to nine digits, `100_000_000` to `299_999_999`.
    pub fn from_payload(payload: u32) -> Result<Self, NpiError> {
        if !(100_000_000..1_000_000_000).contains(&payload) {
            return Err(NpiError::Length);
        }
        let number = u64::from(payload) * 10;
        (0..10).find_map(|check| Self::from_number(number + check).ok()).ok_or(NpiError::FirstDigit)
    }

    /// The ten digits as a number.
    pub fn number(self) -> u32 {
        self.0
    }
}

/// The Luhn sum of `80840` and ten digits: every second digit from the right, without the check digit, is doubled.
fn luhn_sum(digits: &[u8; 10]) -> u32 {
    let sum: u32 = digits
        .iter()
        .enumerate()
        .map(|(index, digit)| {
            let digit = u32::from(digit - b'0');
            match (index % 2 == 0, digit * 2) {
                (false, _) => digit,
                (true, doubled) if doubled > 9 => doubled - 9,
                (true, doubled) => doubled,
            }
        })
        .sum();
    PREFIX_SUM + sum
}

impl fmt::Display for Npi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl FromStr for Npi {
    type Err = NpiError;

    fn from_str(text: &str) -> Result<Self, NpiError> {
        Self::parse(text)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The Luhn sum as ISO/IEC 7812-1 words it, over all fifteen digits.
    fn luhn_holds(npi: &str) -> bool {
        let digits: Vec<u32> = format!("80840{npi}").chars().rev().filter_map(|c| c.to_digit(10)).collect();
        let doubled = |d: u32| if d * 2 > 9 { d * 2 - 9 } else { d * 2 };
        let sum: u32 = digits.iter().enumerate().map(|(i, d)| if i % 2 == 1 { doubled(*d) } else { *d }).sum();
        sum.is_multiple_of(10)
    }

    #[test]
    fn the_example_of_the_standard_is_valid() {
        // "1234567893" is the worked example of CMS's "Requirements for NPI and check digit".
        assert_eq!(Npi::parse("1234567893").map(Npi::number), Ok(1_234_567_893));
        assert_eq!(Npi::from_payload(123_456_789).map(Npi::number), Ok(1_234_567_893));
        assert_eq!(Npi::from_number(1_234_567_893).map(|n| n.to_string()), Ok("1234567893".to_owned()));
    }

    #[test]
    fn what_is_no_identifier_is_refused_with_its_reason() {
        for (text, reason) in [
            ("", NpiError::Length),
            ("123456789", NpiError::Length),
            ("12345678931", NpiError::Length),
            (" 1234567893", NpiError::Length),
            ("123456789 ", NpiError::Digit),
            ("12345-7893", NpiError::Digit),
            ("+123456789", NpiError::Digit),
            // Ten bytes, but five Arabic-Indic digits.
            ("١٢٣٤٥", NpiError::Digit),
            ("3234567893", NpiError::FirstDigit),
            ("0000000000", NpiError::FirstDigit),
            ("1234567890", NpiError::CheckDigit),
        ] {
            assert_eq!(Npi::parse(text), Err(reason), "{text:?}");
        }
        assert_eq!(Npi::from_number(u64::MAX), Err(NpiError::Length));
        assert_eq!(Npi::from_payload(300_000_000), Err(NpiError::FirstDigit));
    }

    proptest! {
        #[test]
        fn exactly_one_check_digit_fits(payload in 100_000_000u32..300_000_000) {
            let valid: Vec<String> = (0..10).map(|d| format!("{payload}{d}")).filter(|t| Npi::parse(t).is_ok()).collect();
            prop_assert_eq!(valid.len(), 1);
            prop_assert!(luhn_holds(&valid[0]));
            prop_assert_eq!(Npi::from_payload(payload).map(|n| n.to_string()), Ok(valid[0].clone()));
        }

        #[test]
        fn one_wrong_digit_is_found(payload in 100_000_000u32..300_000_000, place in 1usize..10, other in 0u8..10) {
            let mut digits = Npi::from_payload(payload).unwrap().to_string().into_bytes();
            let was = digits[place];
            digits[place] = b'0' + other;
            prop_assert_eq!(Npi::from_bytes(&digits).is_ok(), digits[place] == was);
        }

        #[test]
        fn any_bytes_are_an_answer(bytes in proptest::collection::vec(any::<u8>(), 0..16)) {
            if let Ok(npi) = Npi::from_bytes(&bytes) {
                prop_assert_eq!(npi.to_string().into_bytes(), bytes);
            }
        }
    }
}
