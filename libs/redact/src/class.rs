/// What an identifier is: the classes of 45 CFR 164.514(b)(2)(i) that occur in text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Class {
    /// A person's name.
    Name,
    /// A date, or a part of one that is more than the year.
    Date,
    /// An age over 89, or a year of birth that tells one.
    Age,
    /// A telephone or pager number.
    Phone,
    /// A fax number.
    Fax,
    /// An e-mail address.
    Email,
    /// A US social security number.
    Ssn,
    /// A medical record number.
    Mrn,
    /// A number of a health plan's member.
    Plan,
    /// An account or card number.
    Account,
    /// A certificate or licence number; the NPI and DEA numbers too.
    License,
    /// A vehicle's identifier or plate.
    Vehicle,
    /// A device's identifier or serial number.
    Device,
    /// A web address.
    Url,
    /// An internet address.
    Ip,
    /// What names a biometric record.
    Biometric,
    /// A street and number, or a post office box.
    Street,
    /// A place smaller than a state.
    Place,
    /// A ZIP code.
    Zip,
    /// A hospital, clinic, school or employer by name.
    Organization,
    /// Any other number or code that is one person's.
    Id,
}

impl Class {
    /// All of them, in the order of their bits.
    pub const ALL: [Self; 21] = [
        Self::Name,
        Self::Date,
        Self::Age,
        Self::Phone,
        Self::Fax,
        Self::Email,
        Self::Ssn,
        Self::Mrn,
        Self::Plan,
        Self::Account,
        Self::License,
        Self::Vehicle,
        Self::Device,
        Self::Url,
        Self::Ip,
        Self::Biometric,
        Self::Street,
        Self::Place,
        Self::Zip,
        Self::Organization,
        Self::Id,
    ];

    /// What stands between the brackets of its tag; also the name in reports.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Name => "NAME",
            Self::Date => "DATE",
            Self::Age => "AGE",
            Self::Phone => "PHONE",
            Self::Fax => "FAX",
            Self::Email => "EMAIL",
            Self::Ssn => "SSN",
            Self::Mrn => "MRN",
            Self::Plan => "PLAN",
            Self::Account => "ACCOUNT",
            Self::License => "LICENSE",
            Self::Vehicle => "VEHICLE",
            Self::Device => "DEVICE",
            Self::Url => "URL",
            Self::Ip => "IP",
            Self::Biometric => "BIOMETRIC",
            Self::Street => "STREET",
            Self::Place => "PLACE",
            Self::Zip => "ZIP",
            Self::Organization => "ORGANIZATION",
            Self::Id => "ID",
        }
    }

    /// The class with a name of ours, in any case.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|class| class.as_str().eq_ignore_ascii_case(text))
    }

    /// The class that a label of another corpus or tool means: those of i2b2 2014, Presidio, and their like.
    pub fn from_label(label: &str) -> Option<Self> {
        let label: String = label.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_uppercase()).collect();
        let label = label.trim_start_matches("US").trim_end_matches(|c: char| c.is_ascii_digit());
        if let Some(class) = Self::parse(label) {
            return Some(class);
        }
        Some(match label {
            "PERSON" | "PER" | "PATIENT" | "DOCTOR" | "STAFF" | "HCW" | "PHYSICIAN" | "PROVIDER" | "FIRSTNAME"
            | "LASTNAME" | "GIVENNAME" | "SURNAME" | "FULLNAME" | "MIDDLENAME" | "PERSONNAME" | "PATIENTNAME"
            | "DOCTORNAME" | "PROVIDERNAME" | "NAMES" | "RELATIVE" | "INITIALS" | "USERNAME" => Self::Name,
            "DATETIME" | "DOB" | "DATEOFBIRTH" | "BIRTHDATE" | "ADMISSIONDATE" | "DISCHARGEDATE" | "DATES" | "TIME"
            | "DATEOFDEATH" | "HOLIDAY" => Self::Date,
            "AGEOVER" | "AGE89" | "AGES" => Self::Age,
            "TELEPHONE" | "PHONENUMBER" | "TEL" | "PAGER" | "CONTACT" | "MOBILE" | "TELEPHONENUMBER" => Self::Phone,
            "FAXNUMBER" => Self::Fax,
            "EMAILADDRESS" | "MAIL" => Self::Email,
            "SOCIALSECURITYNUMBER" | "SOCIALSECURITY" => Self::Ssn,
            "MEDICALRECORD" | "MEDICALRECORDNUMBER" | "MRNNUMBER" | "RECORDNUMBER" => Self::Mrn,
            "HEALTHPLAN" | "HEALTHPLANNUMBER" | "BENEFICIARY" | "INSURANCE" | "MEMBERID" | "HEALTHPLANID"
            | "INSURANCEID" | "MBI" | "POLICY" => Self::Plan,
            "ACCOUNTNUMBER" | "CREDITCARD" | "BANKNUMBER" | "IBANCODE" | "BANKACCOUNT" | "CCN" => Self::Account,
            "LICENSENUMBER" | "DRIVERLICENSE" | "MEDICALLICENSE" | "NPI" | "DEA" | "PASSPORT" | "LICENCE"
            | "CERTIFICATE" | "DRIVERSLICENSE" => Self::License,
            "VIN" | "VEHICLEID" | "LICENSEPLATE" | "PLATE" => Self::Vehicle,
            "DEVICEID" | "SERIAL" | "SERIALNUMBER" | "MACADDRESS" => Self::Device,
            "WEBSITE" | "WEB" | "LINK" => Self::Url,
            "IPADDRESS" | "IPV" => Self::Ip,
            "BIOID" | "BIOMETRICID" => Self::Biometric,
            "ADDRESS" | "STREETADDRESS" | "ADDRESSLINE" => Self::Street,
            "GEO" | "GPE" | "LOCATION" | "LOC" | "CITY" | "COUNTY" | "TOWN" | "LOCATIONOTHER" | "REGION" | "STATE"
            | "COUNTRY" | "GEOGRAPHIC" | "PLACES" => Self::Place,
            "ZIPCODE" | "POSTALCODE" | "POSTCODE" | "POSTAL" => Self::Zip,
            "HOSPITAL" | "ORG" | "ORGANISATION" | "EMPLOYER" | "FACILITY" | "COMPANY" | "SCHOOL" | "NRP"
            | "DEPARTMENT" | "CLINIC" => Self::Organization,
            "IDNUM" | "IDENTIFIER" | "OTHER" | "IDNUMBER" | "UNIQUEID" | "IDS" | "CODE" | "OTHERID" => Self::Id,
            _ => return None,
        })
    }

    /// Classes that a scorer takes for the same: what one corpus calls GEO another cuts into street, place and ZIP.
    pub const fn family(self) -> &'static str {
        match self {
            Self::Name => "NAME",
            Self::Date | Self::Age => "DATE",
            Self::Phone | Self::Fax => "PHONE",
            Self::Street | Self::Place | Self::Zip | Self::Organization => "GEO",
            Self::Email | Self::Url | Self::Ip => "NET",
            Self::Ssn
            | Self::Mrn
            | Self::Plan
            | Self::Account
            | Self::License
            | Self::Vehicle
            | Self::Device
            | Self::Biometric
            | Self::Id => "ID",
        }
    }

    pub(crate) const fn bit(self) -> u32 {
        1 << self as u8
    }
}

/// A set of classes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Classes(u32);

impl Classes {
    /// Every class.
    pub const ALL: Self = Self((1 << Class::ALL.len()) - 1);

    /// The set of some classes.
    pub fn of(classes: &[Class]) -> Self {
        Self(classes.iter().fold(0, |bits, class| bits | class.bit()))
    }

    /// This set without some classes.
    pub fn without(self, classes: &[Class]) -> Self {
        Self(self.0 & !Self::of(classes).0)
    }

    /// True if the class is in the set.
    pub const fn has(self, class: Class) -> bool {
        self.0 & class.bit() != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_of_other_corpora_are_known() {
        for (label, class) in [
            ("PATIENT", Class::Name),
            ("us_ssn", Class::Ssn),
            ("EMAIL_ADDRESS", Class::Email),
            ("GEO", Class::Place),
            ("LOCATION-OTHER", Class::Place),
            ("MEDICALRECORD", Class::Mrn),
            ("name", Class::Name),
            ("AGE_OVER_89", Class::Age),
            ("IPv4", Class::Ip),
            ("DATE_TIME", Class::Date),
        ] {
            assert_eq!(Class::from_label(label), Some(class), "{label}");
        }
        assert_eq!(Class::from_label("DRUG"), None);
    }

    #[test]
    fn sets_hold_what_they_were_given() {
        let set = Classes::ALL.without(&[Class::Date, Class::Zip]);
        assert!(set.has(Class::Name) && !set.has(Class::Date) && !set.has(Class::Zip) && set.has(Class::Id));
    }
}
