//! How much memory there is for this process, and how much of it is resident. It is read from Linux's `/proc` and
//! control groups; where those do not exist, nothing is known.

use std::fs;
use std::path::{Path, PathBuf};

/// The most memory that this process may use, in bytes: the smallest of the machine's memory and the limits of the
/// control groups (v1 or v2) that the process is in. None if nothing is known.
pub fn machine_limit() -> Option<u64> {
    limit_below(Path::new("/"))
}

/// The memory of this process that is resident, in bytes; 0 if it is not known.
pub fn resident() -> u64 {
    own_status("VmRSS").unwrap_or(0)
}

/// The most memory of this process that was ever resident, in bytes; 0 if it is not known.
pub fn peak_resident() -> u64 {
    own_status("VmHWM").unwrap_or(0)
}

fn own_status(name: &str) -> Option<u64> {
    field(&fs::read_to_string("/proc/self/status").ok()?, name)
}

/// The limit, on a machine whose files are below `root`.
fn limit_below(root: &Path) -> Option<u64> {
    let read = |path: &str| fs::read_to_string(root.join(path)).unwrap_or_default();
    let machine = field(&read("proc/meminfo"), "MemTotal");
    let groups = groups(&read("proc/self/cgroup"), &read("proc/self/mountinfo"));
    let limits = groups.iter().flat_map(|group| group.limits(root));
    limits.chain(machine).min()
}

/// A control group that may limit memory.
#[derive(Debug, PartialEq, Eq)]
struct Group {
    /// Where its hierarchy is mounted.
    mount: PathBuf,
    /// Its path below the mount.
    path: PathBuf,
    /// The file that has the limit, in it and in each of its parents.
    file: &'static str,
}

impl Group {
    fn limits(&self, root: &Path) -> Vec<u64> {
        let mount = root.join(self.mount.strip_prefix("/").unwrap_or(&self.mount));
        let files = self.path.ancestors().map(|path| mount.join(path).join(self.file));
        files.filter_map(|file| limit(&fs::read_to_string(file).ok()?)).collect()
    }
}

/// The value of a line such as `MemTotal:  16303428 kB`, in bytes.
fn field(text: &str, name: &str) -> Option<u64> {
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    value.trim().strip_suffix("kB")?.trim_end().parse::<u64>().ok()?.checked_mul(1024)
}

/// A control group's limit in bytes. `max` (v2) is none; v1 writes none as a number that is larger than any machine.
fn limit(text: &str) -> Option<u64> {
    text.trim().parse().ok()
}

/// The control groups, from `/proc/self/cgroup` and the mounts in `/proc/self/mountinfo`.
fn groups(cgroup: &str, mountinfo: &str) -> Vec<Group> {
    mountinfo.lines().filter_map(|line| group(cgroup, line)).collect()
}

/// The control group that a line of `mountinfo` mounts, such as
/// `36 25 0:31 / /sys/fs/cgroup/memory rw shared:9 - cgroup cgroup rw,memory`.
fn group(cgroup: &str, line: &str) -> Option<Group> {
    let (place, kind) = line.split_once(" - ")?;
    let mut place = place.split_whitespace().skip(3);
    let (root, mount) = (place.next()?, place.next()?);
    let mut kind = kind.split_whitespace();
    let (controller, file) = match kind.next()? {
        "cgroup2" => ("", "memory.max"),
        "cgroup" if kind.nth(1)?.split(',').any(|option| option == "memory") => ("memory", "memory.limit_in_bytes"),
        _ => return None,
    };
    let path = cgroup.lines().find_map(|line| {
        let (_, line) = line.split_once(':')?;
        let (controllers, path) = line.split_once(':')?;
        controllers.split(',').any(|name| name == controller).then_some(path)
    })?;
    // In a container, the mount may be the group itself under a name that only the host knows.
    let path = Path::new(path).strip_prefix(root).unwrap_or(Path::new(""));
    Some(Group { mount: mount.into(), path: path.strip_prefix("/").unwrap_or(path).into(), file })
}

#[cfg(test)]
mod tests {
    use super::*;

    const V2: &str = "31 24 0:27 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n";
    const V1: &str = "\
        33 32 0:30 / /sys/fs/cgroup/cpu,cpuacct rw shared:9 - cgroup cgroup rw,cpu,cpuacct\n\
        34 32 0:31 /docker/abc /sys/fs/cgroup/memory ro shared:10 - cgroup cgroup rw,memory\n";

    fn machine(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().expect("a directory");
        for (path, text) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
            fs::write(path, text).expect("a file");
        }
        root
    }

    #[test]
    fn sizes_are_read_from_lines_in_kibibytes() {
        let text = "Name:\tforebay\nVmHWM:\t   20480 kB\nVmRSS:\t   10240 kB\nThreads:\t9\n";
        assert_eq!(field(text, "VmRSS"), Some(10 << 20));
        assert_eq!(field(text, "VmHWM"), Some(20 << 20));
        assert_eq!(field(text, "Vm"), None);
        assert_eq!(field(text, "Threads"), None);
        assert_eq!(field("MemTotal:       16303428 kB\nMemFree: 1 kB", "MemTotal"), Some(16_303_428 << 10));
        assert_eq!(field("MemTotal: 18446744073709551615 kB", "MemTotal"), None);
    }

    #[test]
    fn no_limit_is_none() {
        assert_eq!(limit("max\n"), None);
        assert_eq!(limit("536870912\n"), Some(512 << 20));
        assert_eq!(limit(""), None);
    }

    #[test]
    fn the_groups_are_those_of_the_process_that_can_limit_memory() {
        let group = |mount: &str, path: &str, file| Group { mount: mount.into(), path: path.into(), file };
        let service = "0::/system.slice/forebay.service\n";
        let expected = group("/sys/fs/cgroup", "system.slice/forebay.service", "memory.max");
        assert_eq!(groups(service, V2), [expected]);
        let v1 = "5:cpu,cpuacct:/docker/abc\n4:memory:/docker/abc/sub\n1:name=systemd:/x\n";
        assert_eq!(groups(v1, V1), [group("/sys/fs/cgroup/memory", "sub", "memory.limit_in_bytes")]);
        let hidden = "4:memory:/elsewhere\n0::/\n";
        assert_eq!(groups(hidden, V1), [group("/sys/fs/cgroup/memory", "", "memory.limit_in_bytes")]);
        assert_eq!(groups("0::/\n", V2), [group("/sys/fs/cgroup", "", "memory.max")]);
        assert!(groups("", V2).is_empty() && groups(service, "nonsense\n- - -\n").is_empty());
    }

    #[test]
    fn the_smallest_limit_of_the_machine_and_the_groups_above_counts() {
        let all = [
            ("proc/meminfo", "MemTotal: 1048576 kB\n"),
            ("proc/self/cgroup", "0::/a/b\n"),
            ("proc/self/mountinfo", V2),
            ("sys/fs/cgroup/a/b/memory.max", "max\n"),
            ("sys/fs/cgroup/a/memory.max", "268435456\n"),
        ];
        assert_eq!(limit_below(machine(&all).path()), Some(256 << 20));
        assert_eq!(limit_below(machine(&all[..4]).path()), Some(1 << 30));
        let v1 = [
            ("proc/meminfo", "MemTotal: 1048576 kB\n"),
            ("proc/self/cgroup", "4:memory:/docker/abc\n"),
            ("proc/self/mountinfo", V1),
            ("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n"),
        ];
        assert_eq!(limit_below(machine(&v1).path()), Some(1 << 30));
        assert_eq!(limit_below(machine(&[]).path()), None);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn this_process_is_resident() {
        let limit = machine_limit().expect("a limit");
        assert!(0 < resident() && resident() <= limit);
        assert!(peak_resident() > 0);
    }
}
