use std::io::Write;
use std::process::Command;

use super::{PEAK, hex, job};
use crate::support::{CLINICAL, Scratch, patient, patients};

#[test]
fn a_line_of_1_gib_is_one_reject_and_stays_within_the_budget() {
    let scratch = Scratch::new();
    let write = |out: &mut dyn Write| {
        let block = vec![b'x'; 1 << 20];
        out.write_all(b"{\"patient_id\":\"P1\"}\n{\"patient_id\":\"").unwrap();
        for _ in 0..1024 {
            out.write_all(&block).unwrap();
        }
        out.write_all(b"\"}\n{\"patient_id\":\"P3\"}\n").unwrap();
    };
    let plain = std::fs::File::create(scratch.path("plain")).unwrap();
    write(&mut std::io::BufWriter::new(&plain));
    let packed = std::fs::File::create(scratch.path("packed")).unwrap();
    let mut encoder = flate2::write::GzEncoder::new(&packed, flate2::Compression::fast());
    write(&mut encoder);
    encoder.finish().unwrap();
    for input in ["plain", "packed"] {
        let output = format!("out-{input}");
        let outcome = job(
            &scratch,
            &["run", "clinical", input, "--output", &output, "--memory", "256MiB", "--set", "protect=off"],
        );
        outcome.expect(3);
        assert_eq!((outcome.records_in(), outcome.rejects("too_large")), (3, 1), "{input}");
        assert_eq!(scratch.rows(&output, "patients").len(), 2, "{input}");
        assert!(outcome.peak() < PEAK, "{input}: {} MiB", outcome.peak() >> 20);
        scratch.clean(&output, &CLINICAL);
    }
    // The same without an end, as an array, and as CSV.
    for (name, start) in [("array", "[{\"patient_id\":\""), ("quoted.csv", "claim_id,line_no\n\"")] {
        let mut file = std::fs::File::create(scratch.path(name)).unwrap();
        file.write_all(start.as_bytes()).unwrap();
        // What a hole in a file reads as: zeros.
        file.set_len(1 << 30).unwrap();
        let (recipe, output) = (if name == "array" { "clinical" } else { "claims" }, format!("out-{name}"));
        let outcome = job(&scratch, &["run", recipe, name, "--output", &output, "--memory", "256MiB"]);
        match outcome.status {
            2 => assert!(outcome.stderr.contains("NUL bytes"), "{}", outcome.stderr),
            _ => assert!(outcome.expect(3).rejects("too_large") == 1 && outcome.peak() < PEAK, "{:?}", outcome.report),
        }
    }
}

#[test]
fn what_is_no_file_is_refused_with_its_name() {
    let scratch = Scratch::new();
    let file = scratch.write("file", patients(1));
    std::fs::create_dir(scratch.path("folder")).unwrap();
    std::os::unix::fs::symlink("loop", scratch.path("loop")).unwrap();
    let below = format!("{file}/below");
    let public = "protect=off";
    for (input, output, ends, says) in [
        ("folder", "out", 2, "is a directory"),
        ("missing", "out", 2, "can't read missing"),
        (&below, "out", 2, "Not a directory"),
        ("loop", "out", 2, "symbolic links"),
        ("", "out", 2, "can't read"),
        ("http://example.org/x", "out", 2, "s3://"),
        ("file", below.as_str(), 2, "Not a directory"),
        ("file", "/dev/full", 2, "/dev/full"),
        ("file", "/proc/forebay", 2, "/proc/forebay"),
        ("/dev/null", "nothing", 1, "/dev/null holds no records"),
    ] {
        let outcome = job(&scratch, &["run", "clinical", input, "--output", output, "--set", public]);
        let said = format!("{input} {output}: {}\n{}{}", outcome.status, outcome.stdout, outcome.stderr);
        assert_eq!(outcome.status, ends, "{said}");
        assert!(outcome.stderr.contains(says) || outcome.stdout.contains(says), "{said}");
    }
    // What may not be read. The administrator may read everything.
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(scratch.path("file"), std::fs::Permissions::from_mode(0o000)).unwrap();
    if std::fs::File::open(scratch.path("file")).is_ok() {
        println!("skipped: this user can read a file without permissions");
        return;
    }
    let outcome = job(&scratch, &["run", "clinical", "file", "--output", "out"]);
    assert!(outcome.expect(2).stderr.contains("Permission denied"), "{}", outcome.stderr);
}

/// A file system of a few megabytes, gone at the end.
struct SmallDisk {
    folder: std::path::PathBuf,
}

impl SmallDisk {
    fn mount(folder: std::path::PathBuf, size: &str) -> Option<Self> {
        std::fs::create_dir(&folder).unwrap();
        let options = format!("size={size}");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(&folder).output();
        mounted.is_ok_and(|output| output.status.success()).then_some(Self { folder })
    }

    fn grow(&self, size: &str) {
        let options = format!("remount,size={size}");
        assert!(Command::new("mount").args(["-o", &options]).arg(&self.folder).status().unwrap().success());
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // A test that failed leaves nothing behind that its next run could not do without.
        drop(Command::new("umount").arg("-l").arg(&self.folder).status());
    }
}

#[test]
fn a_full_disk_fails_the_job_and_the_same_command_finishes_it_when_there_is_room() {
    let scratch = Scratch::new();
    let notes = |n: u64| patient(n).replace("lorem ipsum ", &hex(n));
    let text: String = (0..20_000).map(|n| notes(n) + "\n").collect();
    let input = scratch.write("p.ndjson", text);
    let whole = ["run", "clinical", &input, "--output", "whole", "--set", "protect=off"];
    job(&scratch, &whole).expect(0);
    for size in ["400k", "3m"] {
        let name = format!("disk-{size}");
        let Some(disk) = SmallDisk::mount(scratch.path(&name), size) else {
            println!("skipped: this user can't mount a file system");
            return;
        };
        let output = format!("{name}/out");
        let args = [
            "run",
            "clinical",
            &input,
            "--output",
            &output,
            "--job",
            "full",
            "--set",
            "protect=off",
            "--set",
            "file.bytes=256KiB",
            "--set",
            "chunk.rows=2000",
        ];
        let failed = job(&scratch, &args);
        let said = &failed.expect(1).stderr;
        assert!(said.contains("no space left at") && said.contains(&name), "{said}");
        assert!(said.contains("run the same command again"), "{said}");
        disk.grow("200m");
        job(&scratch, &args).expect(0);
        assert_eq!(scratch.tables(&output, &CLINICAL), scratch.tables("whole", &CLINICAL), "{size}");
        scratch.clean(&output, &CLINICAL);
    }
}
