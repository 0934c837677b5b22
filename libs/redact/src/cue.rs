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
    DateCue,
    PhoneCue,
    FaxCue,
    MrnCue,
    SsnCue,
    PlanCue,
    AccountCue,
    LicenseCue,
    VehicleCue,
    DeviceCue,
    Biometric,
    IdCue,
    CodeCue,
    StreetSuffix,
    UnitCue,
    Direction,
    Facility,
    FacilityMid,
    CareWord,
    PlaceCue,
    ResideCue,
    State,
    StateAbbr,
    Country,
    AgeCue,
    PersonNoun,
    Unit,
    Particle,
    NameLabel,
    Never,
    NumberWord,
    ZipCue,
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
    ("date_cue", Cue::DateCue),
    ("phone_cue", Cue::PhoneCue),
    ("fax_cue", Cue::FaxCue),
    ("mrn_cue", Cue::MrnCue),
    ("ssn_cue", Cue::SsnCue),
    ("plan_cue", Cue::PlanCue),
    ("account_cue", Cue::AccountCue),
    ("license_cue", Cue::LicenseCue),
    ("vehicle_cue", Cue::VehicleCue),
    ("device_cue", Cue::DeviceCue),
    ("biometric", Cue::Biometric),
    ("id_cue", Cue::IdCue),
    ("code_cue", Cue::CodeCue),
    ("street_suffix", Cue::StreetSuffix),
    ("unit_cue", Cue::UnitCue),
    ("direction", Cue::Direction),
    ("facility", Cue::Facility),
    ("facility_mid", Cue::FacilityMid),
    ("care_word", Cue::CareWord),
    ("place_cue", Cue::PlaceCue),
    ("reside_cue", Cue::ResideCue),
    ("state", Cue::State),
    ("state_abbr", Cue::StateAbbr),
    ("country", Cue::Country),
    ("age_cue", Cue::AgeCue),
    ("person_noun", Cue::PersonNoun),
    ("unit", Cue::Unit),
    ("particle", Cue::Particle),
    ("name_label", Cue::NameLabel),
    ("never", Cue::Never),
    ("number_word", Cue::NumberWord),
    ("zip_cue", Cue::ZipCue),
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
