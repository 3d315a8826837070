//! Parsers of the kernel's text files: `/proc/cpuinfo`, `/proc/meminfo`, CPU lists.

use std::collections::BTreeMap;

/// `key : value` lines as a map; the first of two equal keys wins, lines without a colon are left
/// out.
pub fn key_values(text: &str) -> BTreeMap<String, String> {
    let mut map = BTreeMap::new();
    for (key, value) in text.lines().filter_map(|line| line.split_once(':')) {
        map.entry(key.trim().to_string()).or_insert_with(|| value.trim().to_string());
    }
    map
}

/// The block of the first CPU in `/proc/cpuinfo`. On machines that put the model into a block of
/// its own at the end (s390x, older ARM), that block is not taken.
pub fn first_cpu(cpuinfo: &str) -> BTreeMap<String, String> {
    key_values(cpuinfo.trim_start().split("\n\n").next().unwrap_or_default())
}

/// A value in bytes that the file gives in kB (which the kernel means as KiB).
pub fn kib(map: &BTreeMap<String, String>, key: &str) -> Option<u64> {
    let number = map.get(key)?.strip_suffix("kB")?.trim();
    number.parse::<u64>().ok()?.checked_mul(1024)
}

/// Name of the processor: x86 says `model name`; ARM only codes, so implementer and part are shown;
/// then the architecture of the build.
pub fn processor(first_cpu: &BTreeMap<String, String>) -> String {
    if let Some(name) = ["model name", "cpu", "cpu model"].iter().find_map(|k| first_cpu.get(*k)) {
        return name.clone();
    }
    match (first_cpu.get("CPU implementer"), first_cpu.get("CPU part")) {
        (Some(by), Some(part)) => {
            format!("{} implementer {by} part {part}", std::env::consts::ARCH)
        }
        _ => std::env::consts::ARCH.to_string(),
    }
}

/// How many CPUs a list such as `0-3,8,10-11` names; None if it is not such a list.
pub fn cpu_list_len(list: &str) -> Option<u64> {
    list.trim().split(',').map(|part| part_of(part).map(|(first, last)| last - first + 1)).sum()
}

/// The CPUs that such a list names; none if it is not such a list.
pub fn cpus_of(list: &str) -> impl Iterator<Item = u64> + '_ {
    list.trim().split(',').filter_map(part_of).flat_map(|(first, last)| first..=last)
}

/// First and last CPU of `8` or `0-3`.
fn part_of(part: &str) -> Option<(u64, u64)> {
    let (first, last) = part.split_once('-').unwrap_or((part, part));
    let (first, last) = (first.parse().ok()?, last.parse().ok()?);
    (first <= last).then_some((first, last))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_first_cpu_is_taken() {
        let text = "processor\t: 0\nmodel name\t: Fast CPU: v2\nflags\t\t: a b\n\
                    power management:\n\nprocessor\t: 1\nmodel name\t: Other\n\n";
        let cpu = first_cpu(text);
        assert_eq!(cpu["processor"], "0");
        assert_eq!(cpu["power management"], "");
        assert_eq!(processor(&cpu), "Fast CPU: v2");
        assert_eq!(cpu.len(), 4);
    }

    #[test]
    fn arm_has_codes_instead_of_a_name() {
        let cpu = first_cpu("processor\t: 0\nCPU implementer\t: 0x41\nCPU part\t: 0xd40\n");
        assert!(processor(&cpu).ends_with("implementer 0x41 part 0xd40"));
        assert_eq!(processor(&BTreeMap::new()), std::env::consts::ARCH);
    }

    #[test]
    fn memory_is_in_kib() {
        let map = key_values("MemTotal:       24684084 kB\nHugePages_Total:       3\n");
        assert_eq!(kib(&map, "MemTotal"), Some(24684084 * 1024));
        assert_eq!(kib(&map, "HugePages_Total"), None);
        assert_eq!(kib(&map, "Nothing"), None);
    }

    #[test]
    fn cpu_lists_are_counted() {
        assert_eq!(cpu_list_len("0-3,8,10-11\n"), Some(7));
        assert_eq!(cpu_list_len("0"), Some(1));
        assert_eq!(cpus_of("0-2,8\n").collect::<Vec<_>>(), [0, 1, 2, 8]);
        assert_eq!(cpus_of("").count(), 0);
        for bad in ["", "x", "3-1", "1,,2"] {
            assert_eq!(cpu_list_len(bad), None, "{bad}");
        }
    }
}
