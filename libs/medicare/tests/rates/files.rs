//! Files in CMS's layouts, with a few services and places. Codes of HCPCS level II are CMS's and free; those that begin
//! with Z are invented, because codes of CPT are under copyright.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use forebay_medicare::{MedicareTables, Sources};

/// Lines of PPRRVU2025_Oct.csv above the services.
const TITLES_2025: &str = "\
,,2025 National Physician Fee Schedule Relative Value File October Release,,,,,,,,,,,,,,,,,,,,,,,,,,,,\r
,,\"A note, with a comma, about copyrights of CODES\",,,,,,,,,,,,,,,,,,,,,,,,,,,,\r
,, ,,,,,,,,,,,,,,,,,,,,,,,,,,,,\r
,,RELEASED 09/11/2025,,,,,,,,,,,,,,,,,,,,,,,,,,,,\r
,, , ,,,,,,,,,,,,,,,,,,,,,,,,,NON-FACILITY,FACILITY,\r
,,,,NOT USED,,,,,,,,,,,,,,,,,,,,,PHYSICIAN,,DIAGNOSTIC,PE USED,PE USED,MP USED\r
,,,,FOR,,,NON-FAC,,FACILITY ,,,,,,,,,,,,,,,,SUPERVISION OF,,IMAGING,FOR OPPS,FOR OPPS,FOR OPPS\r
,,,STATUS,MEDICARE ,WORK,NON-FAC,NA,FACILITY,NA,MP,NON-FACILITY,FACILITY,PCTC,GLOB,PRE,INTRA,POST,MULT,BILAT,ASST,CO-,TEAM,ENDO,CONV,DIAGNOSTIC,CALCULATION,FAMILY,PAYMENT,PAYMENT,PAYMENT\r
HCPCS,MOD,DESCRIPTION,CODE,PAYMENT,RVU,PE RVU,INDICATOR,PE RVU,INDICATOR,RVU,TOTAL,TOTAL,IND,DAYS,OP,OP,OP,PROC,SURG,SURG,SURG,SURG,BASE,FACTOR,PROCEDURES,FLAG,INDICATOR,AMOUNT,AMOUNT,AMOUNT\r
";

/// Code, modifier, status, work, non-facility expense, NA, facility expense, NA, malpractice, and the three values
/// of the outpatient cap.
type Service = [&'static str; 12];

/// Values of the real release RVU25D; those of Z codes belong to other codes there.
pub(crate) const SERVICES: [Service; 17] = [
    ["G2211", "", "A", "0.33", "0.13", "", "0.13", "", "0.02", "0.00", "0.00", "0.00"],
    ["G0011", "", "A", "0.45", "0.33", "", "0.25", "", "0.04", "0.00", "0.00", "0.00"],
    ["G0127", "", "R", "0.17", "0.54", "", "0.04", "", "0.01", "0.00", "0.00", "0.00"],
    ["G0117", "", "T", "0.45", "1.42", "", "1.42", "NA", "0.02", "0.00", "0.00", "0.00"],
    ["G0183", "", "C", "0.00", "0.00", "", "0.00", "", "0.00", "0.00", "0.00", "0.00"],
    ["G0008", "", "X", "0.00", "0.00", "", "0.00", "", "0.00", "0.00", "0.00", "0.00"],
    ["Z0001", "", "A", "1.75", "6.56", "", "6.56", "NA", "0.11", "6.11", "6.11", "0.11"],
    ["Z0001", "TC", "A", "0.00", "5.93", "", "5.93", "NA", "0.03", "5.48", "5.48", "0.03"],
    ["Z0001", "26", "A", "1.75", "0.63", "", "0.63", "", "0.08", "0.00", "0.00", "0.00"],
    ["Z0002", "", "A", "1.19", "3.66", "", "3.66", "", "0.06", "24.79", "24.79", "0.13"],
    ["Z0003", "", "J", "0.00", "0.00", "", "0.00", "", "0.00", "0.00", "0.00", "0.00"],
    ["Z0004", "", "B", "1.00", "1.00", "", "1.00", "", "1.00", "0.00", "0.00", "0.00"],
    ["Z0005", "", "R", "0.00", "0.00", "", "0.00", "", "0.00", "0.00", "0.00", "0.00"],
    ["Z0006", "", "A", "1.00", "2.00", "NA", "1.00", "", "0.10", "0.00", "0.00", "0.00"],
    ["Z0007", "", "N", "1.00", "1.00", "", "1.00", "", "0.10", "0.00", "0.00", "0.00"],
    ["Z0008", "", "A", "0.01", "0.00", "", "0.00", "", "0.00", "0.00", "0.00", "0.00"],
    ["Z0009", "53", "A", "1.00", "1.00", "", "1.00", "", "0.10", "0.00", "0.00", "0.00"],
];

/// A release of relative values with another title, and with work values from which something was taken.
pub(crate) fn relative_values(title: &str, services: &[Service]) -> Vec<u8> {
    let mut text =
        TITLES_2025.replacen("2025 National Physician Fee Schedule Relative Value File October Release", title, 1);
    for [code, modifier, status, work, non_facility, na_non, facility, na, malpractice, cap_non, cap, cap_mp] in
        services
    {
        // An accent in Latin-1 stands in the description.
        text.push_str(&format!(
            "{code},{modifier},\"D@scription, short\",{status},,{work},{non_facility},{na_non},{facility},{na},{malpractice},\
             0.00,0.00,0,000,0.00,0.00,0.00,0,0,0,0,0,,32.3465,09,0,99,{cap_non},{cap},{cap_mp}\r\n"
        ));
    }
    text.push_str(",,,,,,,,,,,,,,,,,,,,,,,,,,,,,,\r\n");
    text.bytes().map(|byte| if byte == b'@' { 0xe9 } else { byte }).collect()
}

/// Indices of real localities in 2025, and one of an invented place where everything costs what it does on average.
pub(crate) const INDICES_2025: &str = "\
ADDENDUM E. FINAL CY 2025 GEOGRAPHIC PRACTICE COST INDICES (GPCIs) BY STATE AND MEDICARE LOCALITY,,,,,,\r
,,,,,,\r
Medicare Administrative Contractor (MAC),State,Locality Number,Locality Name,2025 PW GPCI (with 1.0 Floor),2025 PE GPCI,2025 MP GPCI\r
02102,AK,01,ALASKA*,1.5,1.081,0.592\r
01182,CA,17,\"OXNARD-THOUSAND OAKS-VENTURA\",1.026,1.183,0.651\r
01112,CA,05,SAN FRANCISCO,1.088,1.419,0.445\r
01112,CA,09,SAN JOSE,1.1,1.435,0.42\r
99999,ZZ,99,NATIONAL AVERAGE,1,1,1\r
\"MAC Assignments as of November 22, 2023\",,,,,,\r
,,,,,,\r
*Work GPCI reflects a 1.5 floor in Alaska established by the MIPPA.,,,,,,\r
";

/// The layout of early 2026, in which the index without the floor comes first.
pub(crate) const INDICES_2026: &str = "\
ADDENDUM E. FINAL CY 2026 GEOGRAPHIC PRACTICE COST INDICES (GPCIs) BY STATE AND MEDICARE LOCALITY,,,,,,,\r
,,,,,,,\r
Medicare Administrative Contractor (MAC),State,Locality Number,Locality Name,2026 PW GPCI (without 1.0 Floor),2026 PW GPCI (with 1.0 Floor),2026 PE GPCI,2026 MP GPCI\r
99999,ZZ,99,NATIONAL AVERAGE,0.9,1,1,1\r
";

pub(crate) const ANESTHESIA_2025: &str = "\
Contractor,Locality,Locality Name,National Anes CF of 20.3178\r
02102 ,01 ,ALASKA*,27.86 \r
,,,\r
";

/// State, ZIP, contractor, locality and whether the ZIP lies in several.
const ZIPS: [(&str, &str, &str, &str, char); 6] = [
    ("AK", "99501", "02102", "01", '0'),
    ("CA", "93001", "01182", "17", '0'),
    ("CA", "94102", "01112", "05", '0'),
    ("CA", "95110", "01112", "09", '0'),
    ("CA", "95112", "01112", "09", '1'),
    ("ZZ", "00001", "99999", "99", '0'),
];

/// Lines of ZIP5_....txt for a year and quarter.
pub(crate) fn zip5(quarter: &str) -> String {
    ZIPS.iter()
        .map(|(state, zip, contractor, locality, flag)| {
            format!("{state}{zip}{contractor}{locality} Z9   {flag} A{:52}{quarter}\r\n", "")
        })
        .collect()
}

/// Lines of ZIP9_....txt: one part of the divided ZIP lies elsewhere.
pub(crate) fn zip9(quarter: &str) -> String {
    [("0001", "01112", "09"), ("0002", "01112", "05")]
        .iter()
        .map(|(four, contractor, locality)| {
            format!("CA95112{contractor}{locality} {:5}1{four}{:6}A{:43}{quarter}\r\n", "", "", "")
        })
        .collect()
}

/// A folder with the files.
pub(crate) struct Folder(pub(crate) tempfile::TempDir);

impl Folder {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(crate) fn file(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.path().join(name);
        fs::write(&path, content).unwrap();
        path
    }

    pub(crate) fn archive(&self, name: &str, members: &[(&str, &[u8])]) -> PathBuf {
        let path = self.0.path().join(name);
        let mut zip = zip::ZipWriter::new(fs::File::create(&path).unwrap());
        for (member, content) in members {
            zip.start_file(*member, zip::write::SimpleFileOptions::default()).unwrap();
            zip.write_all(content).unwrap();
        }
        zip.finish().unwrap();
        path
    }

    /// All files of 2025, and the first release of 2026.
    pub(crate) fn sources(&self) -> Sources {
        let title = |month| format!("2025 National Physician Fee Schedule Relative Value File {month} Release");
        let january: Service = ["G0011", "", "A", "0.40", "0.33", "", "0.25", "", "0.04", "0.00", "0.00", "0.00"];
        Sources {
            relative_values: vec![
                self.file("PPRRVU2025_Oct.csv", relative_values(&title("October"), &SERVICES)),
                self.file("PPRRVU2025_Jan.csv", relative_values(&title("January"), &[january])),
                self.file("PPRRVU2026_Jan_nonQPP.csv", relative_values("A title without a date", &SERVICES)),
            ],
            price_indices: vec![self.file("GPCI2025.csv", INDICES_2025), self.file("GPCI2026.csv", INDICES_2026)],
            zip5: vec![self.file("ZIP5_OCT2025.txt", zip5("20254")), self.file("ZIP5_JAN2026.txt", zip5("20261"))],
            zip9: vec![self.file("ZIP9_OCT2025.txt", zip9("20254"))],
            anesthesia: vec![self.file("ANES2025.csv", ANESTHESIA_2025)],
            conversion_factors: None,
            facilities: None,
        }
    }
}

/// The tables of [`Folder::sources`].
pub(crate) fn tables() -> MedicareTables {
    MedicareTables::load(&Folder::new().sources()).unwrap()
}

/// The file's name, for messages.
pub(crate) fn name(path: &Path) -> String {
    path.file_name().unwrap().to_string_lossy().into_owned()
}
