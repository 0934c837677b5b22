/// What a word tells about what stands beside it. The words are in `data/cues.txt`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Cue {
    Title,
    Credential,
    Suffix,
    Kin,
    Role,
    By,
    StrongBy,
    Speech,
    StrongSpeech,
    EponymNoun,
    Eponym,
    Medical,
    Drug,
    Month,
    Weekday,
    Holiday,
    DateLabel,
    PhoneLabel,
    FaxLabel,
    MrnLabel,
    SsnLabel,
    PlanLabel,
    AccountLabel,
    LicenseLabel,
    VehicleLabel,
    DeviceLabel,
    Biometric,
    IdLabel,
    CodeLabel,
    StreetSuffix,
    AddressUnit,
    Direction,
    Facility,
    FacilityMid,
    CareWord,
    Preposition,
    Residence,
    State,
    StateAbbr,
    Country,
    AgeWord,
    PersonNoun,
    Unit,
    Particle,
    NameLabel,
    Never,
    NumberWord,
    ZipLabel,
    StreetRare,
}

const NAMES: [(&str, Cue); 49] = [
    ("title", Cue::Title),
    ("credential", Cue::Credential),
    ("suffix", Cue::Suffix),
    ("kin", Cue::Kin),
    ("role", Cue::Role),
    ("by", Cue::By),
    ("strong_by", Cue::StrongBy),
    ("speech", Cue::Speech),
    ("strong_speech", Cue::StrongSpeech),
    ("eponym_noun", Cue::EponymNoun),
    ("eponym", Cue::Eponym),
    ("medical", Cue::Medical),
    ("drug", Cue::Drug),
    ("month", Cue::Month),
    ("weekday", Cue::Weekday),
    ("holiday", Cue::Holiday),
    ("date_label", Cue::DateLabel),
    ("phone_label", Cue::PhoneLabel),
    ("fax_label", Cue::FaxLabel),
    ("mrn_label", Cue::MrnLabel),
    ("ssn_label", Cue::SsnLabel),
    ("plan_label", Cue::PlanLabel),
    ("account_label", Cue::AccountLabel),
    ("license_label", Cue::LicenseLabel),
    ("vehicle_label", Cue::VehicleLabel),
    ("device_label", Cue::DeviceLabel),
    ("biometric", Cue::Biometric),
    ("id_label", Cue::IdLabel),
    ("code_label", Cue::CodeLabel),
    ("street_suffix", Cue::StreetSuffix),
    ("address_unit", Cue::AddressUnit),
    ("direction", Cue::Direction),
    ("facility", Cue::Facility),
    ("facility_mid", Cue::FacilityMid),
    ("care_word", Cue::CareWord),
    ("preposition", Cue::Preposition),
    ("residence", Cue::Residence),
    ("state", Cue::State),
    ("state_abbr", Cue::StateAbbr),
    ("country", Cue::Country),
    ("age_word", Cue::AgeWord),
    ("person_noun", Cue::PersonNoun),
    ("unit", Cue::Unit),
    ("particle", Cue::Particle),
    ("name_label", Cue::NameLabel),
    ("never", Cue::Never),
    ("number_word", Cue::NumberWord),
    ("zip_label", Cue::ZipLabel),
    ("street_rare", Cue::StreetRare),
];

impl Cue {
    pub(crate) const fn bit(self) -> u64 {
        1 << self as u8
    }

    pub(crate) fn parse(name: &str) -> Option<Self> {
        NAMES.iter().find(|(known, _)| *known == name).map(|(_, cue)| *cue)
    }
}

/// The bits of several cues.
pub(crate) const fn any(cues: &[Cue]) -> u64 {
    let (mut bits, mut index) = (0, 0);
    while index < cues.len() {
        bits |= cues[index].bit();
        index += 1;
    }
    bits
}
