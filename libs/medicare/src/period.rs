//! Which of several editions of a table holds on a day.

use jiff::civil::Date;

/// A quarter of a year, counted from year 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Quarter(i32);

impl Quarter {
    /// The quarter `number`, 1 to 4, of a year.
    pub(crate) fn new(year: i16, number: u8) -> Option<Self> {
        (1..=4).contains(&number).then(|| Self(i32::from(year) * 4 + i32::from(number) - 1))
    }

    /// The quarter of a day.
    pub(crate) fn of(day: Date) -> Self {
        Self(i32::from(day.year()) * 4 + (i32::from(day.month()) - 1) / 3)
    }

    fn year(self) -> i32 {
        self.0.div_euclid(4)
    }
}

/// Editions of a table by the quarter from which they hold.
#[derive(Debug)]
pub(crate) struct Editions<T>(Vec<(Quarter, T)>);

impl<T> Default for Editions<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T> Editions<T> {
    /// Adds an edition; one of the same quarter that was added before is dropped.
    pub(crate) fn add(&mut self, from: Quarter, edition: T) {
        self.0.retain(|(quarter, _)| *quarter != from);
        let place = self.0.partition_point(|(quarter, _)| *quarter < from);
        self.0.insert(place, (from, edition));
    }

    /// The newest edition of the day's year that holds on it; before the year's first, that one. An edition of
    /// another year never holds.
    pub(crate) fn on(&self, day: Date) -> Option<&T> {
        let quarter = Quarter::of(day);
        let mut of_year = self.0.iter().filter(|(from, _)| from.year() == quarter.year());
        let newest = of_year.clone().rfind(|(from, _)| *from <= quarter);
        newest.or_else(|| of_year.next()).map(|(_, edition)| edition)
    }
}

/// The first number of four digits in a text that is a year of our time.
pub(crate) fn year_in(text: &str) -> Option<i16> {
    let mut numbers = text.split(|c: char| !c.is_ascii_digit()).filter(|number| number.len() == 4);
    numbers.find_map(|number| number.parse().ok().filter(|year| (1990..2100).contains(year)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_edition_of_the_year_holds() {
        let mut editions = Editions::default();
        for (year, quarter, name) in [(2025, 4, "25D"), (2024, 1, "24A"), (2025, 2, "25B"), (2025, 4, "25D again")] {
            editions.add(Quarter::new(year, quarter).unwrap(), name);
        }
        for (year, month, expected) in [
            (2024, 12, Some("24A")),
            (2025, 1, Some("25B")),
            (2025, 9, Some("25B")),
            (2025, 10, Some("25D again")),
            (2026, 1, None),
            (2023, 12, None),
        ] {
            assert_eq!(editions.on(Date::new(year, month, 1).unwrap()), expected.as_ref(), "{year}-{month}");
        }
    }

    #[test]
    fn years_are_found_in_titles() {
        assert_eq!(year_in("2025 PW GPCI (with 1.0 Floor)"), Some(2025));
        assert_eq!(year_in("ANES2026.csv"), Some(2026));
        assert_eq!(year_in("copyright 20251 0000"), None);
    }
}
