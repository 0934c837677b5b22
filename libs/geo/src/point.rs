/// A place on Earth in degrees (NAD 83, which the Census Bureau uses; for a dot on a map the same as WGS 84).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    /// North of the equator.
    pub latitude: f64,
    /// East of Greenwich; negative in the United States but for the far Aleutians and some islands.
    pub longitude: f64,
}

/// What a point stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Precision {
    /// The address, interpolated along its street.
    Address,
    /// The middle of the ZIP code's area.
    Zcta,
    /// There is no point.
    None,
}

impl Precision {
    /// The stable word for columns.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Address => "address",
            Self::Zcta => "zcta",
            Self::None => "none",
        }
    }
}

impl Point {
    /// Reads degrees; `None` unless they are on Earth.
    pub(crate) fn parse(latitude: &str, longitude: &str) -> Option<Self> {
        let degrees = |text: &str, most: f64| {
            let plain = text.trim().bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'.' | b'-' | b'+'));
            text.trim().parse().ok().filter(|degrees: &f64| plain && degrees.abs() <= most)
        };
        Some(Self { latitude: degrees(latitude, 90.0)?, longitude: degrees(longitude, 180.0)? })
    }
}
