//! Writes an invented dissemination file in the registry's layout to standard output, loads one, or asks a store:
//! `dissemination_file write ROWS`, `load FILE STORE MEBIBYTES`, `ask STORE KEYS [BATCH]`.

#![expect(clippy::unwrap_used, reason = "the generator's numbers are in range")]

#[path = "../tests/store/registry.rs"]
#[expect(dead_code, reason = "the tests use the rest of it")]
mod registry;

use std::error::Error;
use std::fs;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::time::Instant;

use forebay_nppes::{Npi, Sources, Store, load};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments.as_slice() {
        ["write", rows] => write(rows.parse()?),
        ["load", file, store, memory] => {
            let start = Instant::now();
            let sources = Sources { full: Some(file.into()), ..Sources::default() };
            let report = load(Path::new(store), &sources, memory.parse::<u64>()? << 20)?;
            let seconds = start.elapsed().as_secs_f64();
            say(&format!("{report:?} in {seconds:.1} s; {}", peak_memory()?))
        }
        ["ask", store, keys] => ask(store, keys.parse()?, 1),
        ["ask", store, keys, batch] => ask(store, keys.parse()?, batch.parse()?),
        _ => Err("use: dissemination_file write ROWS | load FILE STORE MEBIBYTES | ask STORE KEYS [BATCH]".into()),
    }
}

fn write(rows: u32) -> Result<(), Box<dyn Error>> {
    let mut out = BufWriter::with_capacity(1 << 20, io::stdout().lock());
    out.write_all(registry::header().as_bytes())?;
    let mut text = String::new();
    for n in 0..rows {
        text.clear();
        registry::row(n, &mut text);
        out.write_all(text.as_bytes())?;
    }
    Ok(out.flush()?)
}

/// Asks for keys all over the store, one in eleven of them unknown.
fn ask(store: &str, keys: u32, batch: usize) -> Result<(), Box<dyn Error>> {
    let store = Store::open(store)?;
    let known = store.info().active as u32;
    let asked: Vec<Npi> = (0..keys).map(|n| registry::npi(n.wrapping_mul(2_654_435_761) % (known / 10 * 11))).collect();
    let start = Instant::now();
    let mut found = 0;
    for keys in asked.chunks(batch) {
        found += match keys {
            [key] => usize::from(store.get(*key)?.is_some()),
            keys => store.get_many(keys)?.iter().flatten().count(),
        };
    }
    let rate = f64::from(keys) / start.elapsed().as_secs_f64();
    say(&format!("{found} of {keys} found, {rate:.0} a second in batches of {batch}; {}", peak_memory()?))
}

fn peak_memory() -> io::Result<String> {
    let status = fs::read_to_string("/proc/self/status")?;
    Ok(status.lines().find(|line| line.starts_with("VmHWM")).unwrap_or_default().to_owned())
}

fn say(line: &str) -> Result<(), Box<dyn Error>> {
    Ok(writeln!(io::stdout(), "{line}")?)
}
